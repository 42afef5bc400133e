"""Headings, captions, table heads and sentences of the FiLM analysis: key, English, Korean.

The names of the conditions (own, other, mean, none, no stage 0) are those of report.json, in both languages.
"""

FILM: dict[str, tuple[str, str]] = {
    "film_title": (
        "What the embeddings contribute: {name}, {split} split",
        "임베딩의 기여 분석: {name}, {split} 데이터",
    ),
    "film_about": (
        "{n} of {of:#image}; best checkpoint, step {step}, validation Dice {dice}.",
        "영상 {of}장 중 {n}장, 최고 성능 체크포인트({step} 스텝), 검증 Dice {dice}.",
    ),
    "film_unfinished": ("The run's training had not finished.", "이 실행의 학습은 끝나지 않은 상태였습니다."),
    # The verdict and its reasons.
    "film_verdict_few": ("Too few images to say.", "영상 수가 적어 판단할 수 없습니다."),
    "film_verdict_used": ("The model uses the embedding.", "모델이 임베딩을 활용합니다."),
    "film_verdict_wrong": (
        "A wrong embedding gives better masks than the right one.",
        "그 영상의 임베딩보다 다른 영상의 임베딩을 쓸 때 마스크가 더 정확합니다.",
    ),
    "film_verdict_bias": (
        "A learned bias: no relevant dependence on the image was shown.",
        "학습된 편향에 해당합니다. 영상에 따른 의미 있는 차이는 확인되지 않았습니다.",
    ),
    "film_verdict_none": ("No measurable effect.", "측정 가능한 효과가 없습니다."),
    "film_zero": (
        "Dice, {name}: exactly 0 in all {n} images.",
        "Dice 차이({name}): 영상 {n}장 모두에서 정확히 0입니다.",
    ),
    "film_difference": (
        "Dice, {name}: mean {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}, p = {p:.2g} (Wilcoxon, "
        "Holm-corrected), {changed} of {n} images differ.",
        "Dice 차이({name}): 평균 {mean:+.4f}, 95 % 신뢰구간 {low:+.4f} ~ {high:+.4f}, p = {p:.2g}(Wilcoxon, Holm "
        "보정), "
        "영상 {n}장 중 {changed}장에서 차이가 있습니다.",
    ),
    "film_also": (
        "Also established: Dice, {name}: mean {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}, p = {p:.2g}.",
        "그 밖에 확인된 차이: Dice({name}) 평균 {mean:+.4f}, 95 % 신뢰구간 {low:+.4f} ~ {high:+.4f}, p = {p:.2g}.",
    ),
    "film_too_few": (
        "{n} images: even with every difference of one sign, p after correction for {tests} comparisons would be "
        "{p:.2g}; at least {needed} images are needed.",
        "영상 {n}장으로는 모든 차이의 부호가 같아도 비교 {tests}건에 대한 보정 후 p = {p:.2g}입니다. 영상이 "
        "{needed}장 "
        "이상 필요합니다.",
    ),
    "film_right_better": (
        "The right embedding gives better masks than a wrong one.",
        "다른 영상의 임베딩보다 그 영상의 임베딩을 쓸 때 마스크가 더 정확합니다.",
    ),
    "film_bias_better": (
        "Masks are better with FiLM than with it switched off, but a difference of {least} or more between the right "
        "embedding and a wrong one is not established.",
        "FiLM을 끌 때보다 켤 때 마스크가 더 정확하지만, 그 영상의 임베딩과 다른 영상의 임베딩 사이에 {least} 이상의 "
        "차이가 확인되지 않았습니다.",
    ),
    "film_bias_worse": (
        "Masks are worse with FiLM than with it switched off, and a difference of {least} or more between the right "
        "embedding and a wrong one is not established.",
        "FiLM을 끌 때보다 켤 때 마스크가 덜 정확하며, 그 영상의 임베딩과 다른 영상의 임베딩 사이에 {least} 이상의 "
        "차이가 확인되지 않았습니다.",
    ),
    "film_neither": (
        "Neither the right embedding instead of a wrong one nor FiLM instead of none changes Dice by an established "
        "{least} or more.",
        "올바른 임베딩도 FiLM 자체도 Dice를 {least} 이상 바꾼다고 확인되지 않았습니다.",
    ),
    "film_wrong_better": (
        "Masks depend on the embedding, but the image's own makes them worse: look for mixed-up embeddings.",
        "마스크가 임베딩에 따라 달라지지만, 그 영상의 임베딩을 쓰면 덜 정확해집니다. 임베딩이 뒤바뀌지 않았는지 "
        "확인하십시오.",
    ),
    "film_too_small": (
        "{name} is more than chance, but smaller than {least}: too small to matter.",
        "{name} 차이는 우연으로 보기 어렵지만 {least}보다 작아 의미가 없습니다.",
    ),
    # Reservations.
    "film_power": (
        "With {n} images of this spread, a mean difference of {other:.4f} (own - other) or {none:.4f} (own - none) "
        "is found in 80 % of repetitions, after Holm's correction for {tests} tests; smaller ones would often be "
        "missed.",
        "이 정도 산포의 영상 {n}장으로는 검정 {tests}회에 대한 Holm 보정 후 평균 차이 {other:.4f}(own - other), "
        "{none:.4f}(own - none)을 검정력 80 %로 찾을 수 있습니다. 그보다 작은 차이는 놓치기 쉽습니다.",
    ),
    "film_unseen": (
        "{name}: effects between {least} and {detectable:.4f} may have gone unseen.",
        "{name}: {least} ~ {detectable:.4f} 크기의 효과는 드러나지 않았을 수 있습니다.",
    ),
    "film_one_seed": (
        "Only one trained network (one seed) was analysed; how much another one would differ is not known.",
        "학습된 네트워크 하나(시드 하나)만 분석했으므로, 다른 시드에서 얼마나 달라질지는 알 수 없습니다.",
    ),
    "film_off": (
        "FiLM switched off is this network without a part it was trained with, not a network trained without FiLM: "
        "own - none does not say what FiLM gained in training.",
        "FiLM을 끈 것은 학습에 쓰인 부분을 뺀 같은 네트워크이지, FiLM 없이 학습한 네트워크가 아닙니다. own - none은 "
        "학습에서 FiLM이 준 이득을 뜻하지 않습니다.",
    ),
    "film_independent": (
        "Images count as independent; several images of one patient make the intervals too narrow.",
        "영상은 서로 독립이라고 가정했습니다. 한 환자의 영상이 여러 장이면 신뢰구간이 실제보다 좁아집니다.",
    ),
    "film_identical": (
        "{n} images have a partner with the same embedding: for them own and other are equal.",
        "영상 {n}장은 짝이 된 영상의 임베딩이 같아 own과 other가 같습니다.",
    ),
    "film_mean_train": ("the run's own training split ({n} images)", "이 실행의 학습 데이터(영상 {n}장)"),
    "film_mean_here": (
        "the analysed split ({n} images), since the run's own training split cannot be used: {error}",
        "분석한 데이터(영상 {n}장; 이 실행의 학습 데이터를 쓸 수 없음: {error})",
    ),
    # The page.
    "h_film_reservations": ("Reservations", "유의 사항"),
    "h_film_conditions": ("Conditions", "조건"),
    "film_conditions_how": (
        "The network, the images and the noise are the same in all conditions; only the embedding, or the FiLM of "
        "one "
        "stage, differs. Each value is the mean over images with its bootstrap 95 % interval.",
        "모든 조건에서 네트워크, 영상, 잡음은 같고 임베딩 또는 한 단계의 FiLM만 다릅니다. 값은 영상 평균과 "
        "부트스트랩 "
        "95 % 신뢰구간입니다.",
    ),
    "film_conditions_note": (
        "clDice: Shit et al. 2021 (arXiv:2003.07311). Betti errors: |predicted − true| number of connected components "
        "(0; 8-connectivity) and of holes (1; 4-connectivity of the background), exact, whole images; lower is "
        "better. The mean embedding is that of {mean_from}.",
        "clDice: Shit 등 2021(arXiv:2003.07311). Betti 오차: 연결 성분(0차, 8-연결)과 구멍(1차, 배경의 4-연결) "
        "개수의 "
        "|예측 − 정답|이며 영상 전체에서 정확히 구했습니다. 낮을수록 좋습니다. 평균 임베딩의 출처: {mean_from}.",
    ),
    "film_condition": ("condition", "조건"),
    "film_is_own": ("the image's own embedding", "그 영상의 임베딩"),
    "film_is_other": ("the embedding of another image", "다른 영상의 임베딩"),
    "film_is_mean": ("one mean embedding for all images", "모든 영상에 같은 평균 임베딩"),
    "film_is_none": ("FiLM switched off in every stage", "모든 단계에서 FiLM을 끔"),
    "film_is_off": ("FiLM switched off in stage {stage}", "{stage}단계에서 FiLM을 끔"),
    "film_dice_plot": (
        "Dice of each image under each condition (dots), mean and 95 % interval (bar).",
        "조건별 각 영상의 Dice(점), 평균과 95 % 신뢰구간(막대).",
    ),
    "film_differences_plot": (
        "Own minus each other condition, image by image. Inside the shaded band differences are under {least}: too "
        "small to matter.",
        "own과 다른 조건의 영상별 Dice 차이. 음영은 {least} 미만으로 의미가 없는 크기입니다.",
    ),
    "film_axis_difference": ("difference of Dice", "Dice 차이"),
    "h_film_differences": ("Own minus each other condition", "own과 다른 조건의 차이"),
    "film_minus": ("own minus", "own − 조건"),
    "film_changed": ("images that differ", "차이가 있는 영상"),
    "film_of": ("{changed} of {n}", "{n}장 중 {changed}장"),
    "film_differences_note": (
        "Paired over images: mean, bootstrap 95 % interval, Wilcoxon signed-rank p. Holm's correction covers the "
        "Dice "
        "column; the other p values are not corrected. For Betti errors, a value below zero means that own is "
        "better.",
        "영상별로 짝지은 평균, 부트스트랩 95 % 신뢰구간, Wilcoxon 부호순위 검정의 p입니다. Holm 보정은 Dice 열에만 "
        "적용했습니다. Betti 오차는 0보다 작으면 own이 더 좋습니다.",
    ),
    "h_film_modulation": (
        "How much of the modulation depends on the image",
        "변조가 영상에 따라 달라지는 정도",
    ),
    "film_modulation_how": (
        "Distance of gamma from 1 and of beta from 0: the mean square over images and channels, split into the part "
        "that is the same for every image and the part that varies between the {n} images.",
        "gamma와 1의 거리, beta와 0의 거리를 영상과 채널에 대한 제곱 평균으로 구해, 모든 영상에 공통인 부분과 영상 "
        "{n}장 사이에서 달라지는 부분으로 나누었습니다.",
    ),
    "film_bars": (
        "Mean {part} in each stage (0 coarsest). Grey: the same for every image; blue: depends on the image, with "
        "its "
        "share above the bar.",
        "단계별 평균 {part}(0단계가 가장 성김). 회색은 모든 영상에 공통인 부분, 파랑은 영상에 따라 달라지는 "
        "부분이며 그 "
        "비율을 막대 위에 적었습니다.",
    ),
    "film_total": ("{part}: total", "{part}: 전체"),
    "film_constant": ("constant", "공통"),
    "film_between": ("between images", "영상 간"),
    "film_share": ("share", "비율"),
    "film_modulation_note": (
        "A modulation that varies between images does not have to help; only the verdict is about masks. A scale "
        "that "
        "the next layers undo counts here too.",
        "변조가 영상에 따라 달라진다고 반드시 도움이 되는 것은 아니며, 마스크에 대한 판단은 맨 위의 결론뿐입니다. "
        "다음 "
        "층에서 상쇄되는 크기 변화도 여기에 포함됩니다.",
    ),
    "h_film_curves": ("FiLM over training", "학습 중 FiLM의 변화"),
    "film_curves_how": (
        "As recorded on the validation images during training; the number at the end of a line is its decoder stage "
        "(0 "
        "coarsest). The upright line is the analysed checkpoint.",
        "학습 중 검증 영상에서 기록한 값이며, 선 끝의 숫자는 디코더 단계(0단계가 가장 성김)입니다. 세로선은 분석한 "
        "체크포인트입니다.",
    ),
    "film_no_curves": ("The run has no record of it.", "이 실행에는 기록이 없습니다."),
    "film_step": ("training step", "학습 스텝"),
    "curve_gamma_change": ("mean |gamma − 1|", "평균 |gamma − 1|"),
    "curve_gamma_between": ("gamma: standard deviation between images", "gamma의 영상 간 표준편차"),
    "curve_beta_change": ("mean |beta|", "평균 |beta|"),
    "curve_beta_between": ("beta: standard deviation between images", "beta의 영상 간 표준편차"),
    "curve_condition_norm": ("length of the condition vector", "조건 벡터의 길이"),
    "curve_condition_between": (
        "condition: standard deviation between images",
        "조건 벡터의 영상 간 표준편차",
    ),
    "h_film_where": ("Where masks differ", "마스크가 달라지는 위치"),
    "film_against": ("own against", "own과 비교한 조건"),
    "film_differing": ("pixels that differ", "다른 화소"),
    "film_near": ("near junctions", "분기점 근처"),
    "film_all": ("of all pixels", "전체 화소 중"),
    "film_ratio": ("ratio", "배율"),
    "film_band": ("in the vessel band", "혈관 띠 안"),
    "film_band_near": ("of these near junctions", "그중 분기점 근처"),
    "film_band_all": ("of all band pixels", "띠의 화소 중"),
    "film_where_note": (
        "Near: within {radius} pixels (stored size) of a junction, which is a pixel of the true mask's skeleton with "
        "three or more neighbours in the skeleton. Vessel band: within {radius} pixels of the true mask. A ratio of "
        "1 "
        "means no preference for junctions; its bootstrap 95 % interval is over images, and is left out where masks "
        "differ in too few of them. The ratio to all pixels is above 1 for anything that happens at vessels; the "
        "ratio within the band says whether junctions are special.",
        "분기점은 정답 마스크의 골격에서 이웃 골격 화소가 셋 이상인 화소이고, 그 근처는 원래 크기로 {radius}화소 "
        "이내입니다. 혈관 띠는 정답 마스크에서 {radius}화소 이내입니다. 배율 1은 분기점에 치우치지 않음을 뜻하며, "
        "부트스트랩 95 % 신뢰구간은 영상에 대한 것으로, 마스크가 달라지는 영상이 너무 적으면 표시하지 않습니다. 전체 "
        "화소 대비 배율은 혈관에서 생기는 차이라면 늘 1보다 크고, 분기점이 특별한지는 띠 안의 배율로 알 수 있습니다.",
    ),
    "film_map": (
        "Mean over images of the absolute difference of probability between own and {name}, pixel by pixel: black is "
        "0, the lightest yellow {top:.3f}.",
        "own과 {name}의 확률 차이(절댓값)를 화소별로 영상 평균한 것. 검정은 0, 가장 밝은 노랑은 {top:.3f}입니다.",
    ),
    "film_no_map": (
        "The images differ in size, so there is no mean map.",
        "영상의 크기가 서로 달라 평균 지도가 없습니다.",
    ),
    "h_film_gallery": (
        "Images that differ most between own and other",
        "own과 other의 차이가 가장 큰 영상",
    ),
    "film_gallery_image": ("image", "영상"),
    "film_gallery_own": ("mask with its own embedding", "그 영상의 임베딩으로 얻은 마스크"),
    "film_gallery_other": ("mask with another image's embedding", "다른 영상의 임베딩으로 얻은 마스크"),
    "film_gallery_difference": ("difference of probability", "확률 차이"),
    "film_same": (
        "None: own and other give the same probabilities in every image.",
        "없음: 모든 영상에서 own과 other의 확률이 같습니다.",
    ),
    "film_gallery_note": (
        "Green: vessel found, orange: false, blue: missed. Differences: black is 0, one scale for all images.",
        "초록은 찾은 혈관, 주황은 잘못 찾은 부분, 파랑은 놓친 부분. 확률 차이는 검정이 0이며 모든 영상의 눈금이 "
        "같습니다.",
    ),
    "film_data": ("Data", "데이터"),
    "film_inside": ("{data}, scored inside the field of view", "{data}, 시야(field of view) 안에서 계산"),
    "film_run": ("Run", "실행"),
    "film_embeddings": ("Embeddings", "임베딩"),
    "film_encoder": ("{name}, {width} wide", "{name}, {width}차원"),
    "film_no_encoder": ("of unknown origin", "출처를 알 수 없음"),
    "film_sampling": ("Sampling", "샘플링"),
    "film_tolerance": (
        "{sampler}, tolerance {tolerance}; noise by image content and seed {seed}",
        "{sampler}, 허용 오차 {tolerance}; 잡음은 영상 내용과 시드 {seed}에 따름",
    ),
    "film_steps": (
        "{sampler}, {steps} steps; noise by image content and seed {seed}",
        "{sampler}, {steps} 스텝; 잡음은 영상 내용과 시드 {seed}에 따름",
    ),
    "film_masks": ("Masks", "마스크"),
    "film_mask": ("probability above {threshold:g}", "확률 {threshold:g} 초과"),
    "film_mask_parts": (
        "probability above {threshold:g}, components of fewer than {min_component} pixels removed",
        "확률 {threshold:g} 초과, {min_component}화소 미만인 조각은 제거",
    ),
    "film_seed": ("Seed of partners, choice of images and bootstrap", "짝, 영상 선택, 부트스트랩의 시드"),
    "film_rule": ("Rule", "판정 규칙"),
    "film_rule_is": (
        "A difference of Dice counts if its interval excludes zero, its corrected p is below {alpha} and its mean "
        "is at "
        "least {least}. If own minus other counts, the model uses the embedding where it is positive, and a wrong "
        "embedding gives better masks where it is negative. Otherwise, if own minus none counts, FiLM is a learned "
        "bias. Otherwise there is no measurable effect.",
        "Dice 차이는 신뢰구간이 0을 포함하지 않고 보정한 p가 {alpha} 미만이며 평균의 크기가 {least} 이상일 때 "
        "인정합니다. "
        "own − other가 인정될 때, 양수이면 모델이 임베딩을 활용하는 것이고 음수이면 다른 영상의 임베딩을 쓸 때 "
        "마스크가 더 정확한 것입니다. 그렇지 않고 own − none이 인정되면 FiLM은 학습된 편향입니다. 둘 다 아니면 측정 "
        "가능한 효과가 없습니다.",
    ),
    "film_made": (
        'All numbers, per image too, are in report.json; its field "keys" says what each is.',
        '영상별 값을 포함한 모든 수치는 report.json에 있으며, 각 항목의 뜻은 "keys"에 적혀 있습니다.',
    ),
}
