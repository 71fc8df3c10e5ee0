//! Parameters by their paths: reading them, setting them, drawing them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;
use tokmerge_merge::Random;
use tokmerge_models::{Precision, Vit, VitConfig};

/// A parameter's values, as they lie in a weights file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Values {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// A hash that is the same in every run and version (FNV-1a).
pub(crate) fn stable_hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// The values of all parameters, by path.
pub(crate) fn read(vit: &Vit) -> BTreeMap<String, Values> {
    struct Reader {
        path: Vec<String>,
        found: BTreeMap<String, Values>,
    }
    impl ModuleVisitor for Reader {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val().without_autodiff();
            let shape = tensor.dims().to_vec();
            let values = tensor.into_data().iter::<f32>().collect();
            self.found.insert(self.path.join("."), Values { shape, values });
        }
    }
    let mut reader = Reader { path: Vec::new(), found: BTreeMap::new() };
    vit.visit(&mut reader);
    reader.found
}

/// Path and shape of every parameter.
pub(crate) fn shapes(vit: &Vit) -> BTreeMap<String, Vec<usize>> {
    struct Lister {
        path: Vec<String>,
        found: BTreeMap<String, Vec<usize>>,
    }
    impl ModuleVisitor for Lister {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.insert(self.path.join("."), param.lazy_shape().to_vec());
        }
    }
    let mut lister = Lister { path: Vec::new(), found: BTreeMap::new() };
    vit.visit(&mut lister);
    lister.found
}

/// Whether every weight is a number.
pub(crate) fn all_finite(values: &BTreeMap<String, Values>) -> bool {
    values.values().all(|values| values.values.iter().all(|value| value.is_finite()))
}

/// The model on a device, its parameters set to `values` where these have its path and shape. Their ids follow from
/// their paths, so that what an optimiser remembers of a parameter finds it again in another run.
pub(crate) fn assign(vit: Vit, values: &BTreeMap<String, Values>, device: &Device) -> Vit {
    vit.map(&mut Assigner {
        path: Vec::new(),
        device,
        choose: |path: &str, shape: &[usize]| {
            values.get(path).filter(|found| found.shape == shape).map(|found| found.values.clone())
        },
    })
}

/// A model of random weights that follow from the seed and each parameter's path alone: matrices and positions from
/// a normal distribution of deviation 0.02, cut off at two deviations; norms, biases and tokens as they begin. The
/// experts of a layer begin alike, as V-MoE's do.
pub(crate) fn fresh(config: &VitConfig, precision: Precision, seed: u64, device: &Device) -> Vit {
    let vit = config.init(precision, device);
    vit.map(&mut Assigner {
        path: Vec::new(),
        device,
        choose: |path: &str, shape: &[usize]| {
            let drawn = path == "pos_embed" || (path.ends_with(".weight") && shape.len() > 1);
            drawn.then(|| {
                let mut random = Random::new(seed ^ stable_hash(&drawn_as(path)));
                (0..shape.iter().product())
                    .map(|_| (0.02 * random.normal().clamp(-2.0, 2.0)) as f32)
                    .collect()
            })
        },
    })
}

/// The path that decides what a parameter is drawn as: of an expert, that of the first of its layer.
fn drawn_as(path: &str) -> String {
    let Some((block, rest)) = path.split_once(".experts.") else { return path.to_owned() };
    let within = rest.split_once('.').map_or("", |(_, within)| within);
    format!("{block}.experts.0.{within}")
}

/// A model that holds nothing, to stand in while the real one is being changed.
pub(crate) fn hollow() -> Vit {
    VitConfig { num_classes: 0, ..VitConfig::new(16, 1, 0, 1) }.init(Precision::F32, &Device::default())
}

struct Assigner<'d, F> {
    path: Vec<String>,
    device: &'d Device,
    /// New values of a parameter, if any.
    choose: F,
}

impl<F: Fn(&str, &[usize]) -> Option<Vec<f32>>> ModuleMapper for Assigner<'_, F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (path, shape) = (self.path.join("."), param.lazy_shape().to_vec());
        let values = (self.choose)(&path, &shape)
            .unwrap_or_else(|| param.val().without_autodiff().into_data().iter::<f32>().collect());
        let tensor = Tensor::from_data(TensorData::new(values, shape), self.device);
        let tensor = if self.device.is_autodiff() { tensor.require_grad() } else { tensor };
        Param::initialized(ParamId::from(stable_hash(&path)), tensor)
    }
}
