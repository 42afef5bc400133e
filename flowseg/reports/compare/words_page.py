"""Headings, captions and table heads of a report: key, English, Korean."""

PAGE: dict[str, tuple[str, str]] = {
    "title": ("Comparison of {names:list}", "학습 결과 비교: {names:list}"),
    "to": ("to", "~"),
    # Headings.
    "h_curves": ("Learning curves", "학습 곡선"),
    "h_conclusions": ("Conclusions", "결론"),
    "h_limits": ("What this cannot say", "한계"),
    "h_set_ups": ("Set-ups", "설정 비교"),
    "h_progress": ("Progress", "학습 경과"),
    "h_equal": ("At epoch {epoch}, the last that all have logged", "모든 실행에 기록된 마지막 에폭({epoch}) 기준"),
    "h_courses": ("At equal epochs", "같은 에폭끼리의 비교"),
    "h_early": ("Early phase: epochs {start} to {end}", "초기 구간: {start}~{end} 에폭"),
    "h_windows": ("Windows of epochs", "구간별 추이"),
    "h_events": ("Jumps, falls, loss anomalies", "급상승, 급락, 손실 이상"),
    "h_steadiness": ("Steadiness", "안정성"),
    "h_test": ("Test scores", "테스트 점수"),
    "h_seeds": ("Over seeds", "시드별 비교"),
    "h_images": ("Image by image", "영상별 점수"),
    "h_gallery": ("Where the images differ", "영상에서 본 차이"),
    "h_winners": ("Winners", "항목별 우열"),
    "h_next": ("What to run next", "다음 실험"),
    "h_made": ("How this was made", "작성 방법"),
    # Learning curves.
    "curve_dice": ("Validation Dice over epochs.", "에폭에 따른 검증 Dice."),
    "curve_dice_how": (
        "Filled marks are measurements; small hollow ones repeat the last measurement. Lines break where nothing is "
        "logged; a long stretch that no run has logged is drawn as a narrow grey band.",
        "채워진 점은 실제 측정값, 작은 빈 점은 직전 측정값이 반복 기록된 것입니다. 기록이 없는 구간에서는 선이 "
        "끊어지며, 모든 실행에 기록이 없는 긴 구간은 좁은 회색 띠로 줄여 그렸습니다.",
    ),
    "curve_loss": ("Training loss over epochs.", "에폭에 따른 학습 손실."),
    "curve_loss_how": ("Marks are losses out of line.", "점은 이례적인 손실입니다."),
    "axis_dice": ("validation Dice", "검증 Dice"),
    "axis_loss": ("training loss", "학습 손실"),
    # Set-ups.
    "set_up": ("set-up", "설정"),
    "seeds": ("seeds", "시드"),
    "of_seeds": ("{n:#seed}", "시드 {n}개"),
    "of_images": ("{n:#image}", "영상 {n}장"),
    "parameters": ("parameters", "파라미터 수"),
    "base": ("base network", "기본 네트워크"),
    "conditioner": ("FiLM conditioner", "FiLM 조건 모듈"),
    "film_heads": ("FiLM heads", "FiLM 헤드"),
    "differs": ("Settings that differ:", "서로 다른 설정:"),
    "differs_not": ("All settings but the seed are the same.", "시드 외에는 모든 설정이 같습니다."),
    "setting": ("setting", "항목"),
    "csv_set_up": (
        "A CSV log does not say its set-up, so neither its parameters nor its settings are known.",
        "CSV 로그에는 설정 정보가 없어 파라미터 수와 설정을 알 수 없습니다.",
    ),
    # Progress.
    "run": ("run", "실행"),
    "logged": ("epochs logged", "기록된 에폭"),
    "planned": ("planned", "계획"),
    "values": ("epochs with Dice", "Dice가 적힌 에폭"),
    "measurements": ("measurements", "실제 측정"),
    "carried": ("others carried forward", "나머지는 반복 기록"),
    "best": ("best Dice", "최고 Dice"),
    "last": ("last Dice", "마지막 Dice"),
    "at_epoch": ("epoch {epoch}", "{epoch} 에폭"),
    "measured_at": ("measured at epoch", "측정 에폭"),
    "best_so_far": ("best so far", "그때까지 최고"),
    "difference": ("difference", "차이"),
    "common": ("epochs measured in both", "공통 측정 에폭"),
    "mean_difference": ("mean difference (95 %)", "평균 차이(95 %)"),
    "ahead": ("ahead: second / first", "앞선 에폭 수: 두 번째 / 첫 번째"),
    "courses_note": (
        "Only epochs that were measured in both count. The interval is Student's t over the differences, for as many "
        "independent values as neighbouring measurements are worth; below three there is none.",
        "두 쪽 모두 실제로 측정된 에폭만 셉니다. 신뢰구간은 이웃한 측정값의 자기상관을 감안한 유효 표본 수로 구한 t "
        "구간이며, 세 개 미만이면 구하지 않습니다.",
    ),
    "mean_dice": ("mean Dice", "평균 Dice"),
    "best_dice": ("best Dice", "최고 Dice"),
    "mean_loss": ("mean loss", "평균 손실"),
    "loss_variance": ("variance of the loss", "손실 분산"),
    # Windows.
    "epochs": ("epochs", "에폭"),
    "change": ("change", "변화"),
    "rests_on": ("rests on", "근거"),
    "rests": ("{n:#measurement} in {values:#value}", "값 {values}개, 측정 {n}회"),
    "windows_note": (
        "Windows end before multiples of {length}; a remainder shorter than half a window joins its neighbour. Means "
        "are over all logged values, carried forward or not; the last column says how many measurements these are.",
        "구간은 {length}의 배수 직전에서 끝나며, 절반보다 짧은 나머지는 이웃 구간에 합칩니다. 평균은 반복 기록된 "
        "값까지 포함한 모든 기록값의 평균이고, 마지막 열은 그것이 실제 측정 몇 회에 해당하는지를 나타냅니다.",
    ),
    # Events.
    "what": ("what", "구분"),
    "epoch": ("epoch", "에폭"),
    "from": ("from", "이전"),
    "to_value": ("to", "이후"),
    "kind_jumps": ("jump", "급상승"),
    "kind_falls": ("fall", "급락"),
    "kind_loss": ("loss", "손실 이상"),
    "across_gap": ("across a hole in the log", "기록 공백 사이"),
    "no_events": ("None.", "없음."),
    "events_note": (
        "A jump is a new best, a fall a drop from one logged value to the next, both of {step} or more. A loss is "
        "out of line where it lies more than {outlier:g} robust standard deviations (1.4826 times the median "
        "absolute residual, on a logarithmic scale) above the running median of 15 epochs; its row shows that "
        "median, the loss, and how far they are apart.",
        "급상승은 최고값이, 급락은 기록된 직전 값 대비 변화가 {step} 이상인 경우입니다. 손실 이상은 15에폭 이동 "
        "중앙값보다 강건 표준편차(로그 척도, 잔차 절댓값 중앙값의 1.4826배)의 {outlier:g}배 넘게 큰 경우이며, 해당 "
        "행에는 그 중앙값과 손실, 둘의 차이를 적었습니다.",
    ),
    "dice_step_sd": ("SD of changes between measurements", "측정 간 변화의 표준편차"),
    "of_steps": ("{n:#change}", "변화 {n}회"),
    "drawdown": ("largest drop below the best", "최고값 대비 최대 하락"),
    "loss_scatter": ("scatter of the loss", "손실의 산포"),
    # Test scores.
    "test_how": (
        "{n:#test image}, the same in all evaluations. Means with bootstrap 95 % intervals over images; differences "
        "are paired, image by image. A table's row is over the images on which both set-ups have the metric.",
        "테스트 영상 {n}장이며 모든 평가에서 같습니다. 평균과 영상에 대한 부트스트랩 95 % 신뢰구간을 적었고, 차이는 "
        "영상별로 짝지어 구했습니다. 각 행은 두 설정 모두 값이 있는 영상만으로 계산했습니다.",
    ),
    "test_seeds": (
        "The score of an image is its mean over a set-up's seeds.",
        "시드가 여러 개인 설정에서 영상의 점수는 시드에 대한 평균입니다.",
    ),
    "test_inside": (
        "All scores are inside the field of view: pixels outside it do not count.",
        "모든 점수는 시야(field of view) 안의 픽셀만으로 계산했으며, 시야 밖의 픽셀은 제외했습니다.",
    ),
    "evaluated_apart": (
        "The evaluations differ in these settings and in what made the masks (mask.threshold, mask.min_component):",
        "평가 설정과 마스크 규칙(mask.threshold, mask.min_component)에서 서로 다른 항목:",
    ),
    "metric": ("metric", "지표"),
    "p_holm": ("p (Holm)", "p(Holm)"),
    "effect": ("effect size", "효과 크기"),
    "detectable": ("detectable", "검출 가능한 차이"),
    "images": ("images", "영상 수"),
    "winner": ("winner", "우위"),
    "arrow_higher": (" ↑", " ↑"),
    "arrow_lower": (" ↓", " ↓"),
    "test_note": (
        "↑ higher is better, ↓ lower. Difference: mean and bootstrap 95 % interval. p: Wilcoxon signed-rank; Holm's "
        "correction covers all tests of this report. Effect size: matched-pairs rank-biserial correlation, −1 to 1. "
        "Detectable: the mean difference that these images show in 80 % of repetitions, after Holm's correction. "
        "Images: those on which both have the metric.",
        "↑ 높을수록, ↓ 낮을수록 좋은 지표입니다. 차이: 평균과 부트스트랩 95 % 신뢰구간. p: Wilcoxon 부호순위 "
        "검정이며 Holm 보정은 이 보고서의 모든 검정에 적용했습니다. 효과 크기: 대응표본 순위 양분 상관(−1~1). 검출 "
        "가능한 차이: 이 테스트 영상으로 Holm 보정 후 검정력 80 %에서 찾을 수 있는 평균 차이. 영상 수: 두 쪽 모두 "
        "값이 있는 영상의 수.",
    ),
    "seeds_note": (
        "Means over seeds with Student's t 95 % intervals. If both groups have the same seeds, differences are "
        "paired by seed; otherwise the interval is Welch's. A row is over the images on which every one of these runs "
        "has the metric; their number is given where it is not all. The intervals are not corrected for the number of "
        "metrics.",
        "시드 평균과 t 분포 95 % 신뢰구간입니다. 양쪽의 시드가 같으면 시드별로 짝지어, 다르면 Welch 방식으로 차이를 "
        "구했습니다. 각 행은 이 실행들 모두에 값이 있는 영상만으로 계산했으며, 전체보다 적으면 그 수를 적었습니다. "
        "신뢰구간은 지표 수에 대해 보정하지 않았습니다.",
    ),
    # Image by image.
    "image": ("image", "영상"),
    "difference_plot": (
        "Dice of {b} minus {a}, image by image, sorted: green where {b} is better, orange where it is worse.",
        "영상별 Dice 차이({b} − {a})를 큰 순서로 놓은 것입니다. 초록은 {b} 쪽이 높은 영상, 주황은 낮은 영상입니다.",
    ),
    "axis_difference": ("Dice difference", "Dice 차이"),
    "axis_images": ("images, sorted", "영상(차이가 큰 순)"),
    "sort_how": (
        "A click on a column's head sorts by it; a linked image is in the gallery below.",
        "열 제목을 누르면 그 열을 기준으로 정렬됩니다. 링크가 있는 영상은 아래 갤러리에 있습니다.",
    ),
    # Gallery.
    "gallery_how": (
        "The images that improved most, worsened most, and are hardest for all. The slider goes from image to mask, "
        "prediction and, where there are such maps, probability and uncertainty.",
        "가장 좋아진 영상, 가장 나빠진 영상, 모두에게 가장 어려운 영상입니다. 슬라이더로 영상, 정답 마스크, 예측을 "
        "차례로 볼 수 있고, 파일이 있으면 확률과 불확실성도 볼 수 있습니다.",
    ),
    "gallery_seeds": (
        "With several seeds, the pictures are of the first run of a set-up, while Dice and the choice of images are "
        "means over its seeds.",
        "시드가 여러 개이면 그림은 설정의 첫 번째 실행의 것이지만, Dice와 영상 선택은 시드에 대한 평균을 따릅니다.",
    ),
    "gallery_note": (
        "Prediction: green found, orange false, blue missed. Difference: green is right now and was wrong before, "
        "orange wrong now, blue wrong in both.",
        "예측: 초록은 찾은 혈관, 주황은 잘못 찾은 부분, 파랑은 놓친 부분. 차이: 초록은 새로 맞은 부분, 주황은 새로 "
        "틀린 부분, 파랑은 양쪽 모두 틀린 부분.",
    ),
    "gallery_strip": (
        "From left to right: image, mask, the predictions in the order of the set-ups, differences against the first.",
        "왼쪽부터 영상, 정답 마스크, 설정 순서대로의 예측, 첫 번째 설정과의 차이입니다.",
    ),
    "no_pictures": (
        "{names:list}: the pictures are not there. Older versions of flowseg did not save predictions; evaluate again "
        "with flowseg eval to see them.",
        "{names:list}: 평가 그림 파일이 없습니다. 이전 버전의 flowseg는 예측 마스크를 저장하지 않았으므로, flowseg "
        "eval로 다시 평가하십시오.",
    ),
    "kind_improved": ("most improved", "가장 좋아짐"),
    "kind_worsened": ("most worsened", "가장 나빠짐"),
    "kind_hardest": ("hardest", "가장 어려움"),
    "view_image": ("image", "영상"),
    "view_mask": ("mask", "마스크"),
    "view_prediction": ("prediction", "예측"),
    "view_probability": ("probability", "확률"),
    "view_uncertainty": ("uncertainty", "불확실성"),
    "view_of": ("View of {image}", "{image} 보기 전환"),
    "view_alt": ("{image}: {view}, {name}", "{image}: {view}, {name}"),
    "view_missing": ("{view}: not in this evaluation", "{view}: 이 평가에는 없음"),
    "difference_of": ("{b} against {a}", "차이({b} / {a})"),
    # Winners.
    "item": ("item", "항목"),
    "between": ("between", "비교 대상"),
    "reason": ("reason", "근거"),
    "refused": ("no winner", "판정 보류"),
    "item_best_dice": ("Best validation Dice", "최고 검증 Dice"),
    "item_equal_epochs": ("Validation Dice at equal epochs", "같은 에폭의 검증 Dice"),
    "item_early": ("Early phase", "초기 구간"),
    "item_steadiness": ("Steadiness of the loss", "손실의 안정성"),
    "item_parameters": ("Fewer parameters", "적은 파라미터 수"),
    "item_test": ("Test: {metric:metric}", "테스트: {metric:metric}"),
    "winners_note": (
        "Differences are the second set-up minus the first. No winner is named where a figure of the training is a "
        "single value on either side, where the 95 % interval of the difference includes zero, where a corrected p is "
        "0.05 or more, or where two runs differ only in their seed.",
        "차이는 두 번째 설정에서 첫 번째 설정을 뺀 값입니다. 한쪽이라도 학습의 값이 하나뿐인 경우, 차이의 95 % "
        "신뢰구간이 0을 포함하는 경우, 보정한 p가 0.05 이상인 경우, 시드만 다른 경우에는 우열을 판정하지 않습니다.",
    ),
    "next_nothing": ("The rules suggest nothing further.", "규칙에 따른 추가 제안은 없습니다."),
    "made_note": (
        'Made by flowseg compare. All numbers, per epoch and image too, are in report.json; its field "keys" says '
        "what each is.",
        "flowseg compare로 만들었습니다. 에폭별, 영상별 값을 포함한 모든 수치는 report.json에 있으며, 각 항목의 뜻은 "
        '"keys"에 적혀 있습니다.',
    ),
}
