"""The public data sets that flowseg imports. Layouts are those of the files as their sites give them."""

from dataclasses import dataclass

from flowseg.datasets.cases import Layout
from flowseg.datasets.coco import Coco
from flowseg.datasets.patterns import Patterns, by_number, by_part


@dataclass(frozen=True)
class PublicSet:
    """A public data set."""

    title: str
    site: str
    licence: str
    citation: str
    layout: Layout
    remark: str
    """What to know of its labels, patients and splits."""


_ROSSA = (
    "https://github.com/nhjydywd/OCTA-FRNet",
    "MIT (of the repository)",
    "Ning et al., An accurate and efficient neural network for OCTA vessel segmentation and a new dataset, arXiv "
    "2309.09483, 2023",
)


def _octa_500(size: str, numbers: str, splits: dict[str, range], whose: str) -> PublicSet:
    """Returns a part of OCTA-500: its field of view in words, an expression for its numbers, its splits and whose."""
    return PublicSet(
        f"OCTA-500, {size}",
        "https://ieee-dataport.org/open-access/octa-500",
        "terms of the site; the archives' password is given by the authors on request",
        "Li et al., OCTA-500: A retinal dataset for optical coherence tomography angiography study, Medical Image "
        "Analysis 93:103092, 2024, doi 10.1016/j.media.2024.103092",
        Patterns(
            image=rf"Projection Maps/OCTA\(ILM_OPL\)/(?P<key>{numbers})\.bmp",
            label=rf"GT_(?P<cls>{'|'.join(_OCTA_CLASSES)})/(?P<key>{numbers})\.bmp",
            split_of=by_number(splits),
            classes=_OCTA_CLASSES,
        ),
        f"one image of each subject; the splits are those of {whose}",
    )


def _rossa(training: str) -> Patterns:
    return Patterns(
        image=rf"(?P<part>{training}|val|test)/image/(?P<key>\d+)\.png",
        label=rf"(?P<part>{training}|val|test)/label/(?P<key>\d+)\.png",
        split_of=by_part({"train_manual": "train", "train_sam": "train", "val": "val", "test": "test"}),
    )


_OCTA_CLASSES = ("LargeVessel", "Capillary", "Artery", "Vein")

SETS = {
    "drive": PublicSet(
        "DRIVE",
        "https://drive.grand-challenge.org/",
        "research and educational use, no redistribution (terms of the site)",
        "Staal et al., Ridge-based vessel segmentation in color images of the retina, IEEE Transactions on Medical "
        "Imaging 23(4):501-509, 2004, doi 10.1109/TMI.2004.825627",
        Patterns(
            image=r"(?P<part>training|test)/images/(?P<key>\d+)_(?:training|test)\.tif",
            label=r"(?P<part>training|test)/1st_manual/(?P<key>\d+)_manual1\.gif",
            fov=r"(?P<part>training|test)/mask/(?P<key>\d+)_(?:training|test)_mask\.gif",
            split_of=by_part({"training": "train", "test": "test"}),
            unlabelled=("test",),
        ),
        "labels of the first observer",
    ),
    "chase-db1": PublicSet(
        "CHASE_DB1",
        "https://researchdata.kingston.ac.uk/96/",
        "CC BY 4.0",
        "Fraz et al., An ensemble classification-based approach applied to retinal blood vessel segmentation, IEEE "
        "Transactions on Biomedical Engineering 59(9):2538-2548, 2012, doi 10.1109/TBME.2012.2205687",
        Patterns(
            image=r"Image_(?P<key>(?P<group>\d+)[LR])\.jpg",
            label=r"Image_(?P<key>\d+[LR])_1stHO\.png",
        ),
        "both eyes of a child are in one split; labels of the first observer",
    ),
    "stare": PublicSet(
        "STARE",
        "https://cecas.clemson.edu/~ahoover/stare/probing/index.html",
        "none is stated",
        "Hoover et al., Locating blood vessels in retinal images by piecewise threshold probing of a matched filter "
        "response, IEEE Transactions on Medical Imaging 19(3):203-210, 2000, doi 10.1109/42.845178",
        Patterns(image=r"(?P<key>im\d{4})\.ppm", label=r"(?P<key>im\d{4})\.ah\.ppm"),
        "patients are not named; labels of Adam Hoover",
    ),
    "hrf": PublicSet(
        "HRF",
        "https://www5.cs.fau.de/research/data/fundus-images/",
        "CC BY 4.0",
        "Budai et al., Robust vessel segmentation in fundus images, International Journal of Biomedical Imaging "
        "2013:154860, 2013, doi 10.1155/2013/154860",
        Patterns(
            image=r"(?P<key>\d+_(?:h|dr|g))\.jpg",
            label=r"(?P<key>\d+_(?:h|dr|g))\.tif",
            fov=r"(?P<key>\d+_(?:h|dr|g))_mask\.tif",
        ),
        "one image of each patient",
    ),
    "fives": PublicSet(
        "FIVES",
        "https://doi.org/10.6084/m9.figshare.19688169",
        "CC BY 4.0",
        "Jin et al., FIVES: A fundus image dataset for artificial intelligence based vessel segmentation, Scientific "
        "Data 9:475, 2022, doi 10.1038/s41597-022-01564-3",
        Patterns(
            image=r"(?P<part>train|test)/Original/(?P<key>\d+_[ADGN])\.png",
            label=r"(?P<part>train|test)/Ground truth/(?P<key>\d+_[ADGN])\.png",
            split_of=by_part({"train": "train", "test": "test"}),
        ),
        "patients are not named",
    ),
    "arcade": PublicSet(
        "ARCADE, syntax part",
        "https://zenodo.org/records/10390295",
        "CC BY 4.0 (of the article; see the site)",
        "Popov et al., Dataset for automatic region-based coronary artery disease diagnostics using X-ray angiography "
        "images, Scientific Data 11:20, 2024, doi 10.1038/s41597-023-02871-z",
        Coco(
            image=r"syntax/(?P<part>train|val|test)/images/[^/]+\.png",
            annotations=r"syntax/(?P<part>train|val|test)/annotations/(?P=part)\.json",
            not_vessel=("stenosis",),
        ),
        "only segments of the SYNTAX score are labelled; patients are not named",
    ),
    "dca1": PublicSet(
        "DCA1",
        "http://personal.cimat.mx:8181/~ivan.cruz/DB_Angiograms.html",
        "none is stated",
        "Cervantes-Sanchez et al., Automatic segmentation of coronary arteries in X-ray angiograms using multiscale "
        "analysis and artificial neural networks, Applied Sciences 9(24):5507, 2019, doi 10.3390/app9245507",
        Patterns(
            image=r"(?P<key>\d+)\.pgm",
            label=r"(?P<key>\d+)_gt\.pgm",
            split_of=by_number({"train": range(1, 101), "test": range(101, 135)}),
        ),
        "images 101 to 134 are the customary test images; patients are not named",
    ),
    "xcad": PublicSet(
        "XCAD, the labelled images",
        "https://github.com/AISIGSJTU/SSVS",
        "none is stated",
        "Ma et al., Self-supervised vessel segmentation via adversarial learning, IEEE/CVF International Conference "
        "on Computer Vision (ICCV), 2021",
        Patterns(
            image=r"test/images/(?P<key>(?P<group>\d+)_\d+|[^/]+)\.png",
            label=r"test/masks/(?P<key>[^/]+)\.png",
        ),
        "images of one number before the underscore are in one split",
    ),
    "octa500-3mm": _octa_500(
        "3 mm",
        r"10(?:30[1-9]|3[1-9]\d|4\d\d|500)",
        {"train": range(10301, 10441), "val": range(10441, 10451), "test": range(10451, 10501)},
        "public code for this set",
    ),
    "octa500-6mm": _octa_500(
        "6 mm",
        r"10(?:[0-2]\d\d|300)",
        {"train": range(10001, 10181), "val": range(10181, 10201), "test": range(10201, 10301)},
        "the authors' code for IPN-V2",
    ),
    "rossa": PublicSet(
        "ROSSA",
        *_ROSSA,
        _rossa("train_manual|train_sam"),
        "the labels of train_sam are semi-automatic; patients are not named",
    ),
    "rossa-manual": PublicSet(
        "ROSSA without semi-automatic labels",
        *_ROSSA,
        _rossa("train_manual"),
        "without train_sam, whose labels are semi-automatic; patients are not named",
    ),
}
