"""Headings, captions and table heads of a run's report: key, English, Korean."""

RUN: dict[str, tuple[str, str]] = {
    "h_run_scores": ("Test scores", "테스트 점수"),
    "h_run_gallery": ("Best, median and worst images", "가장 좋은 영상, 중간 영상, 가장 나쁜 영상"),
    "h_run_curves": ("Learning curves", "학습 곡선"),
    "h_run_calibration": ("Calibration", "확률 보정"),
    "h_run_film": ("FiLM", "FiLM 변조"),
    "h_run_settings": ("Settings", "설정"),
    "h_run_origin": ("Where this run comes from", "실행 출처"),
    "run_verdict": (
        "Test Dice {mean:.4f} [{low:.4f} to {high:.4f}], mean over {n:#image}.",
        "테스트 Dice {mean:.4f} [{low:.4f} ~ {high:.4f}], 영상 {n}장 평균.",
    ),
    "run_verdict_one": ("Test Dice {mean:.4f}, of one image.", "테스트 Dice {mean:.4f}, 영상 한 장."),
    "scores_how": (
        "{n:#test image} of {data}, by the checkpoint of step {step}. Means with bootstrap 95 % intervals over "
        "images.",
        "{data}의 테스트 영상 {n}장, {step} 스텝의 체크포인트. 평균과 영상에 대한 부트스트랩 95 % 신뢰구간.",
    ),
    "mask_threshold": (
        "A pixel is vessel where its probability exceeds {threshold:g}.",
        "확률이 {threshold:g}보다 큰 화소를 혈관으로 봅니다.",
    ),
    "mask_parts": (
        "Connected components of a mask with fewer than {min_component} pixels are removed.",
        "마스크에서 {min_component}화소 미만인 조각은 제거했습니다.",
    ),
    "scores_note": (
        "↑ higher is better, ↓ lower. Frangi is a classical vessel filter, tuned on the validation images; it gives "
        "no probabilities. Images: those on which the metric exists. docs/evaluation.md defines each metric.",
        "↑ 높을수록, ↓ 낮을수록 좋은 지표입니다. Frangi는 검증 영상으로 조정한 고전적인 혈관 필터이며 확률을 내지 "
        "않습니다. 영상 수: 지표 값이 있는 영상의 수. 각 지표의 정의는 docs/evaluation.md에 있습니다.",
    ),
    "frangi": ("Frangi (tuned on val)", "Frangi(검증 영상으로 조정)"),
    "run_gallery_how": (
        "By Dice. The slider goes from image to mask, prediction and, where there are such maps, probability and "
        "uncertainty.",
        "Dice 기준입니다. 슬라이더로 영상, 정답 마스크, 예측을 차례로 볼 수 있고, 파일이 있으면 확률과 불확실성도 볼 "
        "수 있습니다.",
    ),
    "run_gallery_note": (
        "Prediction: green found, orange false, blue missed.",
        "예측: 초록은 찾은 혈관, 주황은 잘못 찾은 부분, 파랑은 놓친 부분.",
    ),
    "kind_best": ("best", "가장 좋음"),
    "kind_median": ("median", "중간"),
    "kind_worst": ("worst", "가장 나쁨"),
    "run_best": (
        "The highest validation Dice is {dice:.4f}, at epoch {epoch}.",
        "검증 Dice 최고값: {dice:.4f}({epoch} 에폭).",
    ),
    "h_calibration": (
        "Share of vessel pixels over the predicted probability.",
        "예측 확률에 따른 실제 혈관 화소의 비율.",
    ),
    "calibration_how": (
        "All pixels of the test images, in 15 bins of equal width; bins of fewer than 100 pixels are left out. On the "
        "diagonal, predicted and observed shares agree; below it the network claims too much.",
        "테스트 영상의 모든 화소를 같은 폭의 구간 15개로 나누었으며, 100화소 미만인 구간은 뺐습니다. 대각선 위에서는 "
        "예측과 실제가 일치하고, 그 아래에서는 확률이 실제보다 높게 예측된 것입니다.",
    ),
    "no_calibration": (
        "There is no calibration plot: the network was trained on SAUNA maps, so its output is no vessel probability, "
        "and {metrics:metrics} do not measure its calibration.",
        "SAUNA 맵으로 학습했으므로 출력은 혈관 확률이 아닙니다. 따라서 보정 그림이 없으며, {metrics:metrics}도 확률 "
        "보정을 나타내지 않습니다.",
    ),
    "axis_predicted": ("predicted probability", "예측 확률"),
    "axis_vessel": ("share of vessel", "혈관 비율"),
    "stage": ("decoder stage", "디코더 단계"),
    "film_gamma_mean": ("mean gamma", "gamma 평균"),
    "film_gamma_change": ("mean |gamma − 1|", "|gamma − 1| 평균"),
    "film_gamma_between": ("SD of gamma between images", "영상 간 gamma 표준편차"),
    "film_beta_change": ("mean |beta|", "|beta| 평균"),
    "film_beta_between": ("SD of beta between images", "영상 간 beta 표준편차"),
    "film_note": (
        "On the validation images, at the last validation; stage 0 is the coarsest. A standard deviation between "
        "images of 0 means that every image is treated alike. Whether the embeddings help is another question: "
        "flowseg analyze film answers it.",
        "마지막 검증에서 검증 영상으로 구한 값이며, 0단계가 가장 성깁니다. 영상 간 표준편차가 0이면 모든 영상을 "
        "똑같이 다룬다는 뜻입니다. 임베딩이 실제로 도움이 되는지는 flowseg analyze film으로 알 수 있습니다.",
    ),
    "run_parameters": ("The network has {total:,} parameters.", "네트워크의 파라미터는 {total:,}개입니다."),
    "all_settings": ("All settings", "전체 설정"),
    "value": ("value", "값"),
    "started": ("started (UTC)", "시작(UTC)"),
    "took": ("took", "걸린 시간"),
    "of_processor": ("{time} of processor time", "프로세서 시간 {time}"),
    "killed": ("did not end by itself", "정상 종료되지 않음"),
    "command": ("command", "명령"),
    "software": ("software", "소프트웨어"),
    "machine": ("machine", "장비"),
    "no_starts": (
        "The run does not say: it was made by an older version, or by another program.",
        "기록이 없습니다. 이전 버전이나 다른 프로그램으로 만든 실행입니다.",
    ),
    "run_made": (
        "Made by flowseg report. All numbers are in report.json.",
        "flowseg report로 만들었습니다. 모든 수치는 report.json에 있습니다.",
    ),
}
