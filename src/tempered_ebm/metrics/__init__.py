"""Image metrics in a feature space; a feature map is a callable."""

from tempered_ebm.metrics.classification import Calibration as Calibration
from tempered_ebm.metrics.classification import Detection as Detection
from tempered_ebm.metrics.classification import calibration as calibration
from tempered_ebm.metrics.classification import detection as detection
from tempered_ebm.metrics.classifier import ClassifierFeatures as ClassifierFeatures
from tempered_ebm.metrics.classifier import fit_classifier_features as fit_classifier_features
from tempered_ebm.metrics.efficientnet import efficientnet_lite0 as efficientnet_lite0
from tempered_ebm.metrics.efficientnet import (
    efficientnet_lite0_tensors as efficientnet_lite0_tensors,
)
from tempered_ebm.metrics.extrapolation import Extrapolation as Extrapolation
from tempered_ebm.metrics.extrapolation import extrapolate_to_infinity as extrapolate_to_infinity
from tempered_ebm.metrics.extrapolation import (
    frechet_distance_infinity as frechet_distance_infinity,
)
from tempered_ebm.metrics.extrapolation import inception_score_infinity as inception_score_infinity
from tempered_ebm.metrics.features import FeatureMap as FeatureMap
from tempered_ebm.metrics.features import fit_pca_features as fit_pca_features
from tempered_ebm.metrics.frechet import FeatureMoments as FeatureMoments
from tempered_ebm.metrics.frechet import feature_moments as feature_moments
from tempered_ebm.metrics.frechet import frechet_distance as frechet_distance
from tempered_ebm.metrics.frechet import (
    frechet_distance_from_moments as frechet_distance_from_moments,
)
from tempered_ebm.metrics.frechet import init_feature_moments as init_feature_moments
from tempered_ebm.metrics.frechet import load_feature_moments as load_feature_moments
from tempered_ebm.metrics.frechet import merge_feature_moments as merge_feature_moments
from tempered_ebm.metrics.frechet import save_feature_moments as save_feature_moments
from tempered_ebm.metrics.frechet import update_feature_moments as update_feature_moments
from tempered_ebm.metrics.image_networks import ImageNetwork as ImageNetwork
from tempered_ebm.metrics.image_networks import read_weights as read_weights
from tempered_ebm.metrics.inception import inception_v3 as inception_v3
from tempered_ebm.metrics.inception import inception_v3_tensors as inception_v3_tensors
from tempered_ebm.metrics.kernel import KernelDistance as KernelDistance
from tempered_ebm.metrics.kernel import energy_distance as energy_distance
from tempered_ebm.metrics.kernel import kernel_distance as kernel_distance
from tempered_ebm.metrics.kernel import kernel_distance_with_error as kernel_distance_with_error
from tempered_ebm.metrics.memorization import memorization_distance as memorization_distance
from tempered_ebm.metrics.memorization import (
    memorization_informed_frechet_distance as memorization_informed_frechet_distance,
)
from tempered_ebm.metrics.scores import InceptionScore as InceptionScore
from tempered_ebm.metrics.scores import inception_score as inception_score
from tempered_ebm.metrics.scores import psnr as psnr
