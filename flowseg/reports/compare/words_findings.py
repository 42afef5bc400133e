"""Sentences that follow from the numbers: key, English, Korean."""

FINDINGS: dict[str, tuple[str, str]] = {
    # The answer, a line for each pair.
    "headline_seeds_only": (
        "{a} and {b} are one set-up trained with different seeds: not different.",
        "{a} / {b}: 같은 설정을 시드만 바꾸어 학습한 것입니다. 차이가 없다고 보아야 합니다.",
    ),
    "headline_no_test": (
        "No winner between {a} and {b}: there are no test scores to compare.",
        "{a} / {b}: 비교할 테스트 점수가 없어 우열을 가릴 수 없습니다.",
    ),
    "headline_not_different": (
        "{a} and {b} are not shown to be different in test Dice.",
        "{a} / {b}: 테스트 Dice에서 차이가 확인되지 않았습니다.",
    ),
    "headline_better": (
        "{winner} is better than {loser} on the test images: Dice {size:+.4f} (95 % interval {size_low:+.4f} to "
        "{size_high:+.4f}).",
        "테스트 영상에서 {winner} 쪽이 {loser} 쪽보다 우수합니다: Dice {size:+.4f} (95 % 신뢰구간 {size_low:+.4f} ~ "
        "{size_high:+.4f}).",
    ),
    # Conclusions.
    "found_test_dice": (
        "Test Dice over {n:#image}: {a} {value_a:.4f}, {b} {value_b:.4f}. The difference is {d:+.4f} (95 % interval "
        "{low:+.4f} to {high:+.4f}; Wilcoxon p {p:p} after Holm's correction).",
        "테스트 Dice(영상 {n}장): {a} {value_a:.4f}, {b} {value_b:.4f}. 차이는 {d:+.4f}입니다(95 % 신뢰구간 "
        "{low:+.4f} ~ {high:+.4f}, Holm 보정 Wilcoxon p {p:p}).",
    ),
    "found_seeds_only": (
        "Test Dice over {n:#image}: {a} {value_a:.4f}, {b} {value_b:.4f}, difference {d:+.4f} (95 % interval "
        "{low:+.4f} to {high:+.4f}). The two configs are the same but for the seed: a difference of this size comes "
        "from training again.",
        "테스트 Dice(영상 {n}장): {a} {value_a:.4f}, {b} {value_b:.4f}, 차이 {d:+.4f}(95 % 신뢰구간 {low:+.4f} ~ "
        "{high:+.4f}). 두 설정은 시드만 다르므로, 이 정도 차이는 학습을 다시 하는 것만으로도 생깁니다.",
    ),
    "found_wins": (
        "{name} is better than {other} in {metrics:metrics} ({n} of {of} test metrics).",
        "{name} 쪽이 {other} 쪽보다 우수한 지표: {metrics:metrics} (테스트 지표 {of}개 중 {n}개).",
    ),
    "found_undecided": (
        "{n} of {of} test metrics name no winner between {a} and {b}.",
        "{a} / {b}: 테스트 지표 {of}개 중 {n}개는 우열을 판정할 수 없습니다.",
    ),
    "found_carried": (
        "{name}: the {values} validation epochs are {n:#measurement}. Validation ran every {every} epochs, and its "
        "value was carried forward in between.",
        "{name}: 검증 Dice가 적힌 {values}개 에폭은 실제로는 {n}회의 측정입니다. 검증은 {every}에폭마다 이루어졌고, "
        "그 사이에는 직전 값이 그대로 반복 기록되었습니다.",
    ),
    "found_carried_once": (
        "{name}: the {values} validation epochs are {n:#measurement}; the value was carried forward in between.",
        "{name}: 검증 Dice가 적힌 {values}개 에폭은 실제로는 {n}회의 측정이며, 그 사이에는 직전 값이 반복 "
        "기록되었습니다.",
    ),
    "found_hole": (
        "{name}: nothing is logged from epoch {start} to {end}. How the training went there is not known.",
        "{name}: {start}~{end} 에폭의 기록이 없습니다. 이 구간의 학습 경과는 알 수 없습니다.",
    ),
    "found_dice_hole": (
        "{name}: no Dice is logged from epoch {start} to {end}.",
        "{name}: {start}~{end} 에폭에는 Dice 기록이 없습니다.",
    ),
    "found_best": (
        "Best validation Dice: {a} {value_a:.4f} (epoch {epoch_a}), {b} {value_b:.4f} (epoch {epoch_b}). This "
        "compares one value with one value.",
        "최고 검증 Dice: {a} {value_a:.4f}({epoch_a} 에폭), {b} {value_b:.4f}({epoch_b} 에폭). 측정값 하나씩을 "
        "비교한 것입니다.",
    ),
    "found_best_means": (
        "Best validation Dice: {a} {value_a:.4f} (mean of {n_a:#training}), {b} {value_b:.4f} (mean of "
        "{n_b:#training}).",
        "최고 검증 Dice: {a} {value_a:.4f}(학습 {n_a}회 평균), {b} {value_b:.4f}(학습 {n_b}회 평균).",
    ),
    "found_best_seeds": (
        "Best validation Dice, mean over seeds: {a} {value_a:.4f}, {b} {value_b:.4f}, difference {d:+.4f} (95 % "
        "interval over seeds {low:+.4f} to {high:+.4f}).",
        "최고 검증 Dice의 시드 평균: {a} {value_a:.4f}, {b} {value_b:.4f}, 차이 {d:+.4f}(시드에 대한 95 % 신뢰구간 "
        "{low:+.4f} ~ {high:+.4f}).",
    ),
    "found_equal_one": (
        "Only one epoch was measured in both {a} ({value_a:.4f}) and {b} ({value_b:.4f}): a comparison at equal "
        "epochs has no interval.",
        "두 쪽 모두에서 측정된 에폭은 하나뿐입니다({a} {value_a:.4f}, {b} {value_b:.4f}). 따라서 같은 에폭끼리의 "
        "비교에는 신뢰구간이 없습니다.",
    ),
    "found_equal_interval": (
        "At the {n} epochs measured in both, {b} minus {a} is {d:+.4f} on average (95 % interval {low:+.4f} to "
        "{high:+.4f}); {b} is ahead at {ahead_b}, {a} at {ahead_a}.",
        "두 쪽 모두 측정된 {n}개 에폭에서 차이({b} − {a})는 평균 {d:+.4f}입니다(95 % 신뢰구간 {low:+.4f} ~ "
        "{high:+.4f}). {b} 쪽이 앞선 에폭은 {ahead_b}개, {a} 쪽이 앞선 에폭은 {ahead_a}개입니다.",
    ),
    "found_equal_seeds": (
        "At the epochs that all runs measured, mean validation Dice is {value_a:.4f} ({a}) and {value_b:.4f} ({b}): "
        "difference {d:+.4f} (95 % interval over seeds {low:+.4f} to {high:+.4f}).",
        "모든 실행에서 측정된 에폭의 평균 검증 Dice: {a} {value_a:.4f}, {b} {value_b:.4f}, 차이 {d:+.4f}(시드에 대한 "
        "95 % 신뢰구간 {low:+.4f} ~ {high:+.4f}).",
    ),
    "found_early_one": (
        "Epochs {start} to {end}: mean Dice is {mean_a:.4f} ({a}) and {mean_b:.4f} ({b}). The difference of {d:+.4f} "
        "compares one measurement with one measurement.",
        "{start}~{end} 에폭의 평균 Dice: {a} {mean_a:.4f}, {b} {mean_b:.4f}. {d:+.4f}의 차이는 측정값 하나씩을 "
        "비교한 것입니다.",
    ),
    "found_early": (
        "Epochs {start} to {end}: mean Dice is {mean_a:.4f} ({a}, {n_a:#measurement}) and {mean_b:.4f} ({b}, "
        "{n_b:#measurement}), difference {d:+.4f}.",
        "{start}~{end} 에폭의 평균 Dice: {a} {mean_a:.4f}(측정 {n_a}회), {b} {mean_b:.4f}(측정 {n_b}회), 차이 "
        "{d:+.4f}.",
    ),
    "found_anomaly": (
        "{name}: the loss of epoch {epoch} is out of line: {loss:.4f} where {usual:.4f} is usual.",
        "{name}: {epoch} 에폭의 손실이 이례적입니다. 주변 값은 {usual:.4f} 수준인데 {loss:.4f}입니다.",
    ),
    "found_anomaly_seen": (
        "{name}: the loss of epoch {epoch} is out of line: {loss:.4f} where {usual:.4f} is usual. Dice was "
        "{before:.4f} at epoch {before_epoch} and {after:.4f} at epoch {after_epoch}.",
        "{name}: {epoch} 에폭의 손실이 이례적입니다. 주변 값은 {usual:.4f} 수준인데 {loss:.4f}입니다. Dice는 "
        "{before_epoch} 에폭에 {before:.4f}, {after_epoch} 에폭에 {after:.4f}입니다.",
    ),
    "found_anomaly_between": (
        "{name}: the loss of epoch {epoch} is out of line: {loss:.4f} where {usual:.4f} is usual. Dice was measured "
        "before it at epoch {before_epoch} ({before:.4f}) and next at epoch {after_epoch} ({after:.4f}), so the "
        "values in between do not show whether it affected Dice.",
        "{name}: {epoch} 에폭의 손실이 이례적입니다. 주변 값은 {usual:.4f} 수준인데 {loss:.4f}입니다. Dice는 그 "
        "이전에는 {before_epoch} 에폭({before:.4f}), 그다음에는 {after_epoch} 에폭({after:.4f})에서야 "
        "측정되었습니다. 따라서 그 사이의 값만 보고 Dice가 영향을 받지 않았다고 말할 수는 없습니다.",
    ),
    "found_changes": (
        "{name}: new bests by {step} or more at {jumps:epochs}; falls by {step} or more at {falls:epochs}.",
        "{name}: 최고값이 {step} 이상 갱신된 시점은 {jumps:epochs} 에폭, 직전보다 {step} 이상 하락한 시점은 "
        "{falls:epochs} 에폭입니다.",
    ),
    "found_jumps": (
        "{name}: new bests by {step} or more at {jumps:epochs}; no fall of that size.",
        "{name}: 최고값이 {step} 이상 갱신된 시점은 {jumps:epochs} 에폭입니다. 그 정도의 하락은 없습니다.",
    ),
    "found_falls": (
        "{name}: falls by {step} or more at {falls:epochs}; no new best by that much.",
        "{name}: 직전보다 {step} 이상 하락한 시점은 {falls:epochs} 에폭입니다. 최고값이 그만큼 갱신된 적은 없습니다.",
    ),
    "found_across": (
        "{name}: Dice went from {before:.4f} to {after:.4f} somewhere between epochs {start} and {end}, across the "
        "hole in its log.",
        "{name}: Dice가 바뀐 시점은 기록 공백을 사이에 둔 {start}~{end} 에폭이라는 것까지만 알 수 "
        "있습니다({before:.4f} → {after:.4f}).",
    ),
    "found_dated": (
        "{name}: the dates of jumps and falls are known only to within {every} epochs, the distance between two "
        "measurements.",
        "{name}: 급상승과 급락이 일어난 시점은 측정 간격인 {every}에폭 범위까지만 알 수 있습니다.",
    ),
    # Limits.
    "limit_one_training": (
        "Each of these was trained once ({names:list}); what another seed would have given is not known. If one of "
        "them wins or loses, this holds for the networks trained here, not for their set-ups.",
        "학습이 1회뿐인 설정: {names:list}. 시드가 달랐다면 어떤 결과가 나왔을지 알 수 없습니다. 이들이 포함된 비교의 "
        "우열은 여기서 학습된 네트워크 사이의 우열이지, 설정 사이의 우열이 아닙니다.",
    ),
    "limit_same_config": (
        "{a} and {b} have the same config and seed. If their results differ, the data or the software differ.",
        "{a} / {b}: 설정과 시드가 모두 같습니다. 결과가 다르다면 데이터나 소프트웨어가 다른 것입니다.",
    ),
    "limit_power": (
        "With {n:#image} of this spread, a mean difference of Dice of {detectable:.4f} between {a} and {b} is found "
        "in 80 % of repetitions, after Holm's correction for {tests:#test}; smaller ones would often be missed.",
        "{a} / {b}: 산포가 이 정도인 영상 {n}장으로 검정 {tests}회에 대한 Holm 보정 후 검정력 80 %에서 찾을 수 있는 "
        "평균 Dice 차이는 {detectable:.4f}입니다. 이보다 작은 차이는 놓치기 쉽습니다.",
    ),
    "limit_seeds": (
        "Where both set-ups have several seeds, a winner in a test score also needs an interval over seeds that "
        "excludes zero. These intervals are not corrected for the number of metrics: among many, some exclude zero by "
        "chance.",
        "양쪽 모두 시드가 여러 개이면, 테스트 지표의 우열은 시드에 대한 신뢰구간도 0을 포함하지 않을 때에만 "
        "판정합니다. 이 신뢰구간은 지표 수에 대해 보정하지 않았으므로, 지표가 많으면 그중 일부는 우연히 0을 포함하지 "
        "않을 수 있습니다.",
    ),
    "limit_independent": (
        "Images count as independent; several images of one patient make the intervals too narrow. Metrics are "
        "related to each other, so winning in many of them is not as many proofs.",
        "영상은 서로 독립이라고 가정했습니다. 한 환자의 영상이 여러 장이면 신뢰구간이 실제보다 좁게 나옵니다. "
        "지표들도 서로 연관되어 있으므로, 여러 지표에서 우수하다고 해서 그만큼 근거가 늘어나는 것은 아닙니다.",
    ),
    "limit_evaluated_apart": (
        "The evaluations differ in their settings ({fields:list}), which may explain a difference. Evaluate all runs "
        "with the same settings (flowseg eval RUN ... --out RUN/eval/test).",
        "평가 설정이 서로 다릅니다({fields:list}). 차이가 여기에서 비롯되었을 수 있으므로 같은 설정으로 다시 "
        "평가하십시오(flowseg eval RUN ... --out RUN/eval/test).",
    ),
    "limit_mask_rules": (
        "The masks were made by different rules (the table under Test scores): each run's rule was tuned on its own "
        "validation images, so it is a part of what is compared.",
        "마스크를 만든 규칙이 실행마다 다릅니다(테스트 점수의 표 참고). 각 실행의 규칙은 자체 검증 영상으로 정한 "
        "것이므로 비교 대상에 포함됩니다.",
    ),
    "limit_sauna": (
        "{names:list}: trained on SAUNA maps, so what is scored is no vessel probability; {metrics:metrics} do not "
        "measure its calibration, and name no winner.",
        "{names:list}: SAUNA 맵으로 학습했으므로 출력은 혈관 확률이 아니며, 확률 보정 지표({metrics:metrics})로는 "
        "우열을 판정하지 않습니다.",
    ),
    "limit_partial": (
        "Not compared, since only some evaluations have them: {metrics:metrics}.",
        "일부 평가에만 있어 비교하지 않은 지표: {metrics:metrics}.",
    ),
    "limit_no_test": (
        "{names:list}: a log from another tool brings no test scores. Checkpoints are chosen by validation Dice, "
        "so that value is optimistic.",
        "{names:list}: 다른 도구의 로그에는 테스트 점수가 없습니다. 검증 Dice는 체크포인트를 고르는 데 쓰인 값이므로 "
        "실제 성능보다 좋게 나옵니다.",
    ),
    "limit_best": (
        "A run's best is the highest of several measurements: the more there are, the higher it comes out by chance.",
        "최고값은 여러 측정값 가운데 가장 큰 값입니다. 측정 횟수가 많을수록 우연히 더 높게 나옵니다.",
    ),
    # What to run next.
    "next_hole": (
        "{name}: find or repeat epochs {start} to {end}; without them only what lies outside can be compared.",
        "{name}: {start}~{end} 에폭의 기록을 찾거나 다시 학습하십시오. 없으면 그 바깥 구간만 비교할 수 있습니다.",
    ),
    "next_validate": (
        "{name}: validate every {closer:#epoch} instead of every {every} (--train.validate-every {closer}); jumps "
        "and falls can hardly be told from noise with {n:#measurement}.",
        "{name}: 검증 간격을 {every}에폭에서 {closer}에폭으로 줄이십시오(--train.validate-every {closer}). 측정 "
        "{n}회로는 상승과 하락을 잡음과 구별하기 어렵습니다.",
    ),
    "next_validate_other": (
        "{name}: validate every {closer:#epoch} instead of every {every}; jumps and falls can hardly be told from "
        "noise with {n:#measurement}.",
        "{name}: 검증 간격을 {every}에폭에서 {closer}에폭으로 줄이십시오. 측정 {n}회로는 상승과 하락을 잡음과 "
        "구별하기 어렵습니다.",
    ),
    "next_finish": (
        "{name}: continue to epoch {planned}; it stands at {last}.",
        "{name}: 계획된 {planned} 에폭까지 학습을 마치십시오. 현재 {last} 에폭입니다.",
    ),
    "next_longer": (
        "{name}: train longer; its best is its last measurement (epoch {epoch}).",
        "{name}: 더 오래 학습하십시오. 최고값이 마지막 측정({epoch} 에폭)에서 나왔습니다.",
    ),
    "next_test": (
        "{names:list}: score on the test images; validation alone names no winner.",
        "{names:list}: 테스트 영상으로 평가하십시오. 검증 점수만으로는 우열을 판정할 수 없습니다.",
    ),
    "next_seeds": (
        "{names:list}: train {n} seeds of each (--seed 0, 1, 2) and compare them together; only several seeds "
        "can tell a better set-up from luck.",
        "{names:list}: 설정마다 시드 {n}개로 학습하여(--seed 0, 1, 2) 함께 비교하십시오. 설정의 효과와 우연은 시드를 "
        "바꾸어 보아야만 구별됩니다.",
    ),
    "next_more_seeds": (
        "{a} and {b}: about {n} seeds of each would show a difference of Dice of {target:.4f} in 80 % of repetitions; "
        "there are {n_a} and {n_b}.",
        "{a} / {b}: {target:.4f}의 Dice 차이를 검정력 80 %로 확인하려면 설정마다 시드가 약 {n}개 필요합니다. 현재 "
        "{n_a}개와 {n_b}개입니다.",
    ),
    "next_images": (
        "{a} and {b}: about {n:,} test images would show a difference of Dice of {target:.4f} in 80 % of "
        "repetitions, after Holm's correction for {tests:#test}; there are {have}.",
        "{a} / {b}: 검정 {tests}회에 대한 Holm 보정 후 {target:.4f}의 Dice 차이를 검정력 80 %로 확인하려면 테스트 "
        "영상이 약 {n:,}장 필요합니다. 현재 {have}장입니다.",
    ),
    "next_steady": (
        "{name}: make the training steadier ({falls:#fall}, {anomalies:#loss} out of line): a lower learning rate or "
        "a falling schedule (optim.lr, optim.schedule), tighter clipping (optim.clip_norm).",
        "{name}: 학습을 더 안정시키십시오(하락 {falls}회, 이례적 손실 {anomalies}회). 학습률을 낮추거나 감소 "
        "스케줄을 쓰고(optim.lr, optim.schedule), 기울기 클리핑을 강화하십시오(optim.clip_norm).",
    ),
    "next_steady_other": (
        "{name}: make the training steadier ({falls:#fall}, {anomalies:#loss} out of line): a lower learning rate or "
        "a falling schedule, tighter clipping.",
        "{name}: 학습을 더 안정시키십시오(하락 {falls}회, 이례적 손실 {anomalies}회). 학습률을 낮추거나 감소 "
        "스케줄을 쓰고, 기울기 클리핑을 강화하십시오.",
    ),
    "next_film": (
        "{name}: see what the embeddings contribute and how gamma and beta move: flowseg analyze film RUN",
        "{name}: 임베딩의 기여와 gamma, beta의 변화를 확인하십시오: flowseg analyze film RUN",
    ),
    # Why an item has its winner, or none.
    "seeds_only": (
        "These are one set-up with different seeds, so a difference between them is due to chance.",
        "시드만 다른 같은 설정이므로 둘의 차이는 학습의 우연에서 온 것입니다.",
    ),
    "single_values": (
        "One value against one value ({value_a:.4f} and {value_b:.4f}): there is no interval and so no winner.",
        "측정값 하나씩의 비교({value_a:.4f}, {value_b:.4f}): 신뢰구간이 없어 판정하지 않습니다.",
    ),
    "one_training": (
        "{value_a:.4f} over {n_a:#training}, {value_b:.4f} over {n_b:#training}: one training alone has no interval, "
        "and so there is no winner.",
        "학습 {n_a}회 평균 {value_a:.4f}, 학습 {n_b}회 평균 {value_b:.4f}: 학습이 1회뿐인 쪽에는 신뢰구간이 없어 "
        "판정하지 않습니다.",
    ),
    "seeds_overlap": (
        "{value_a:.4f} and {value_b:.4f}; the interval of the difference over {n_a} and {n_b} seeds includes zero "
        "({low:+.4f} to {high:+.4f}).",
        "{value_a:.4f}, {value_b:.4f}. 시드 {n_a}개와 {n_b}개에서 구한 차이의 신뢰구간이 0을 포함합니다({low:+.4f} ~ "
        "{high:+.4f}).",
    ),
    "wins_seeds": (
        "{value_a:.4f} and {value_b:.4f}; difference {d:+.4f}, 95 % interval over {n_a} and {n_b} seeds {low:+.4f} "
        "to {high:+.4f}.",
        "{value_a:.4f}, {value_b:.4f}. 차이 {d:+.4f}, 시드 {n_a}개와 {n_b}개에서 구한 95 % 신뢰구간 {low:+.4f} ~ "
        "{high:+.4f}.",
    ),
    "none_common": ("No epoch was measured in both.", "두 쪽 모두 측정된 에폭이 없습니다."),
    "few_common": (
        "Both measured {n:#epoch} only; an interval takes {needed} (mean difference {d:+.4f}).",
        "두 쪽 모두 측정된 에폭이 {n}개뿐입니다. 신뢰구간에는 {needed}개가 필요합니다(평균 차이 {d:+.4f}).",
    ),
    "overlap_epochs": (
        "The interval of the mean difference over {n} common measurements includes zero ({low:+.4f} to {high:+.4f}).",
        "공통 측정 {n}회의 평균 차이에 대한 신뢰구간이 0을 포함합니다({low:+.4f} ~ {high:+.4f}).",
    ),
    "wins_epochs": (
        "Mean difference {d:+.4f} over {n} common measurements, 95 % interval {low:+.4f} to {high:+.4f}. This "
        "holds for these trainings only.",
        "공통 측정 {n}회의 평균 차이 {d:+.4f}, 95 % 신뢰구간 {low:+.4f} ~ {high:+.4f}. 이 학습들에 한한 결과입니다.",
    ),
    "other_loss": (
        "The losses are of different flows or targets, so they cannot be compared.",
        "플로우나 학습 목표가 달라 손실을 비교할 수 없습니다.",
    ),
    "few_losses": (
        "Only {n} common epochs with a loss; {needed} are needed.",
        "손실이 기록된 공통 에폭이 {n}개뿐입니다. {needed}개가 필요합니다.",
    ),
    "alike_scatter": (
        "The losses of {n} common epochs lie {value_a:.4f} and {value_b:.4f} off their running median on average: no "
        "difference shown (p {p:p}).",
        "공통 에폭 {n}개의 손실은 이동 중앙값에서 평균 {value_a:.4f}, {value_b:.4f} 벗어납니다. 차이가 확인되지 "
        "않습니다(p {p:p}).",
    ),
    "wins_scatter": (
        "The losses of {n} common epochs lie {value_a:.4f} and {value_b:.4f} off their running median on average (p "
        "{p:p}). This holds for these two trainings only.",
        "공통 에폭 {n}개의 손실은 이동 중앙값에서 평균 {value_a:.4f}, {value_b:.4f} 벗어납니다(p {p:p}). 이 두 학습에 "
        "한한 결과입니다.",
    ),
    "same_count": ("The same number: {value_a:,}.", "{value_a:,}개로 같습니다."),
    "fewer": ("{value_a:,} and {value_b:,} parameters.", "{value_a:,}개, {value_b:,}개."),
    "no_values": ("Fewer than two images have this value in both.", "두 쪽 모두 값이 있는 영상이 2장 미만입니다."),
    "few_images": (
        "{n:#image} cannot give a p below 0.05 after correction, whatever the scores (difference {d:+.4f}).",
        "영상 {n}장으로는 점수가 어떻든 보정 후 p가 0.05 아래로 내려갈 수 없습니다(차이 {d:+.4f}).",
    ),
    "overlap_images": (
        "{d:+.4f}: the interval over {n:#image} includes zero ({low:+.4f} to {high:+.4f}).",
        "{d:+.4f}: 영상 {n}장에서 구한 신뢰구간이 0을 포함합니다({low:+.4f} ~ {high:+.4f}).",
    ),
    "no_probability": (
        "{d:+.4f}; a network trained on SAUNA maps gives no probabilities, so this does not compare calibration.",
        "{d:+.4f}. SAUNA 맵으로 학습한 네트워크의 출력은 확률이 아니므로 확률 보정을 비교할 수 없습니다.",
    ),
    "holm": (
        "{d:+.4f} ({low:+.4f} to {high:+.4f}), but p {p:p} after correction for all metrics.",
        "{d:+.4f}({low:+.4f} ~ {high:+.4f})이지만, 전체 지표에 대해 보정한 p {p:p}입니다.",
    ),
    "holm_pairs": (
        "{value_a:.4f} and {value_b:.4f}; p {p:p} after correction for {pairs} pairs of set-ups.",
        "{value_a:.4f}, {value_b:.4f}. 설정 쌍 {pairs}개에 대해 보정한 p {p:p}입니다.",
    ),
    "no_direction": (
        "{d:+.4f}; whether higher or lower is better is not known for this column.",
        "{d:+.4f}. 높은 쪽이 좋은지 낮은 쪽이 좋은지 알 수 없는 항목입니다.",
    ),
    "wins_images": (
        "{d:+.4f}, 95 % interval over {n:#image} {low:+.4f} to {high:+.4f}, p {p:p}. This holds for these trained "
        "networks only.",
        "{d:+.4f}, 영상 {n}장에서 구한 95 % 신뢰구간 {low:+.4f} ~ {high:+.4f}, p {p:p}. 학습된 이 네트워크들에 한한 "
        "결과입니다.",
    ),
    "seeds_overlap_images": (
        "{d:+.4f} on the images ({low:+.4f} to {high:+.4f}), but over {n_a} and {n_b} seeds the interval includes "
        "zero ({seeds_low:+.4f} to {seeds_high:+.4f}).",
        "영상 기준 {d:+.4f}({low:+.4f} ~ {high:+.4f})이지만, 시드 {n_a}개와 {n_b}개에서 구한 신뢰구간은 0을 "
        "포함합니다({seeds_low:+.4f} ~ {seeds_high:+.4f}).",
    ),
    "wins_images_and_seeds": (
        "{d:+.4f}, 95 % interval over {n:#image} {low:+.4f} to {high:+.4f}, p {p:p}; over {n_a} and {n_b} seeds "
        "{seeds_low:+.4f} to {seeds_high:+.4f}.",
        "{d:+.4f}, 영상 {n}장에서 구한 95 % 신뢰구간 {low:+.4f} ~ {high:+.4f}, p {p:p}. 시드 {n_a}개와 {n_b}개에서는 "
        "{seeds_low:+.4f} ~ {seeds_high:+.4f}.",
    ),
}
