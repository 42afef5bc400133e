"""Headings, captions and table heads of a cross-validation's report: key, English, Korean."""

FOLDS: dict[str, tuple[str, str]] = {
    "folds_title": ("Cross-validation in {n} folds", "교차 검증(폴드 {n}개)"),
    "folds_verdict": (
        "{name}: Dice {mean:.4f} over {n:#image} out of fold.",
        "{name}: 폴드 밖 영상 {n}장의 평균 Dice {mean:.4f}.",
    ),
    "h_folds_images": ("Images out of fold", "폴드 밖 영상"),
    "folds_images_how": (
        "Each image for training and validation, scored by the run that was not trained on it and did not choose its "
        "checkpoint by it; with several seeds, the mean of theirs. Means with bootstrap 95 % intervals over images. A "
        "row is over the images on which all its columns have the metric; their number is given where it is not all.",
        "학습과 검증에 쓰는 각 영상을, 그 영상으로 학습하지도 체크포인트를 고르지도 않은 실행으로 평가했습니다. "
        "시드가 여럿이면 그 평균입니다. 평균과 영상에 대한 부트스트랩 95 % 신뢰구간. 각 행은 모든 열에 값이 있는 "
        "영상만으로 계산했으며, 전체보다 적으면 그 수를 적었습니다.",
    ),
    "h_folds_differences": ("Differences between configs", "설정 간 차이"),
    "folds_differences_how": (
        "Paired over the same images as the means above, with bootstrap 95 % intervals; p by Wilcoxon's signed-rank "
        "test, corrected over all rows (Holm). The folds share most of their training images, so p says little about "
        "another training.",
        "위의 평균과 같은 영상마다 짝지어 구한 차이와 부트스트랩 95 % 신뢰구간. p는 Wilcoxon 부호순위 검정으로 구해 "
        "모든 행에 대해 Holm 방법으로 보정했습니다. 폴드끼리 학습 영상을 대부분 공유하므로, 다시 학습했을 때의 변동은 "
        "알 수 없습니다.",
    ),
    "folds_pair": ("configs", "설정"),
    "folds_difference": ("difference", "차이"),
    "h_folds_each": ("Each fold", "폴드별 결과"),
    "folds_each_how": ("Mean Dice over the images of each fold.", "각 폴드의 영상에 대한 평균 Dice."),
    "fold": ("fold", "폴드"),
    "h_folds_test": ("Test images", "테스트 영상"),
    "folds_test_how": (
        "No fold was trained on them. Single runs: the mean of all runs for each image. Together: the probabilities "
        "of all runs are averaged, as flowseg predict does with their folder. A row is over the images on which all "
        "its columns have the metric.",
        "어느 폴드도 이 영상으로 학습하지 않았습니다. 개별 실행: 영상마다 모든 실행의 평균. 앙상블: 모든 실행의 "
        "확률을 평균한 결과이며, 그 폴더를 주면 flowseg predict도 같은 방식으로 예측합니다. 각 행은 모든 열에 값이 "
        "있는 영상만으로 계산했습니다.",
    ),
    "folds_single": ("{name}, single runs", "{name}, 개별 실행"),
    "folds_together": ("{name}, {n:#run} together", "{name}, 실행 {n}개의 앙상블"),
    "folds_made": (
        "Made by flowseg experiment --folds. All numbers are in report.json.",
        "flowseg experiment --folds로 만들었습니다. 모든 수치는 report.json에 있습니다.",
    ),
}
