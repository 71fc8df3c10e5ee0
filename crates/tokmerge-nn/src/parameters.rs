//! Parameters by their paths: counting, reading, setting and drawing them.

use crate::Random;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;

/// A parameter's values, as they lie in a weights file.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Row by row; as many as the product of the dimensions.
    pub values: Vec<f32>,
}

/// What a visitor of paths does with a parameter.
trait Visit {
    fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<D>>);
}

struct Paths<V> {
    path: Vec<String>,
    visit: V,
}

impl<V: Visit> ModuleVisitor for Paths<V> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.visit.visit(&self.path.join("."), param);
    }
}

fn visit<V: Visit>(module: &impl Module, visit: V) -> V {
    let mut paths = Paths { path: Vec::new(), visit };
    module.visit(&mut paths);
    paths.visit
}

/// Number of parameters, counted from shapes: nothing is initialised. Buffers are none.
#[must_use]
pub fn count(module: &impl Module) -> usize {
    let shapes = shapes(module);
    let parameters = shapes.iter().filter(|(path, _)| !is_buffer(path));
    parameters.map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// Whether what has this path is no parameter but a statistic that a batch norm keeps, or a table of positions that follows
/// from the shape: saved with the parameters, and never trained.
#[must_use]
pub fn is_buffer(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    ["running_mean", "running_var"].contains(&name) || is_table(path)
}

/// Whether what has this path is a table of positions that follows from the shape: a file need not hold it.
#[must_use]
pub fn is_table(path: &str) -> bool {
    path.rsplit('.').next() == Some("pos_table")
}

/// Path and shape of every parameter; nothing is initialised.
#[must_use]
pub fn shapes(module: &impl Module) -> BTreeMap<String, Vec<usize>> {
    struct Shapes(BTreeMap<String, Vec<usize>>);
    impl Visit for Shapes {
        fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<D>>) {
            self.0.insert(path.to_owned(), param.lazy_shape().to_vec());
        }
    }
    visit(module, Shapes(BTreeMap::new())).0
}

/// The values of all parameters, by path.
#[must_use]
pub fn read(module: &impl Module) -> BTreeMap<String, Values> {
    struct Read(BTreeMap<String, Values>);
    impl Visit for Read {
        fn visit<const D: usize>(&mut self, path: &str, param: &Param<Tensor<D>>) {
            let tensor = param.val().without_autodiff();
            let shape = tensor.dims().to_vec();
            let values = tensor.into_data().iter::<f32>().collect();
            self.0.insert(path.to_owned(), Values { shape, values });
        }
    }
    visit(module, Read(BTreeMap::new())).0
}

/// Draws every parameter that is still to be drawn. Burn draws one when it is first read.
pub fn materialise(module: &impl Module) {
    struct Draw;
    impl Visit for Draw {
        fn visit<const D: usize>(&mut self, _: &str, param: &Param<Tensor<D>>) {
            param.val();
        }
    }
    visit(module, Draw);
}

/// The module on a device, its parameters set to `values` where these have its path and shape. Ids follow from paths,
/// so that what an optimiser remembers of a parameter finds it again in another run.
#[must_use]
pub fn assign<M: Module>(module: M, values: &BTreeMap<String, Values>, device: &Device) -> M {
    replace(module, device, |path, shape| {
        values.get(path).filter(|found| found.shape == shape).map(|found| found.values.clone())
    })
}

/// How widely the values of a parameter are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Of the first rows.
    pub first: f64,
    /// So many of them.
    pub rows: usize,
    /// Of all others.
    pub others: f64,
}

impl Deviation {
    /// The same of all values.
    #[must_use]
    pub fn of_all(deviation: f64) -> Self {
        Self { first: deviation, rows: 0, others: deviation }
    }

    /// Of a value, in a parameter of so many rows.
    fn at(&self, index: usize, len: usize, rows: usize) -> f64 {
        if index * rows < self.rows * len { self.first } else { self.others }
    }
}

/// The module with random weights that follow from the seed and each parameter's path alone: what `drawn` gives a deviation is
/// drawn from a normal distribution, cut off at two deviations; everything else stays as it is. Parameters for which `alike`
/// gives the same name begin alike.
#[must_use]
pub fn random<M: Module>(
    module: M,
    seed: u64,
    device: &Device,
    drawn: impl Fn(&str, &[usize]) -> Option<Deviation>,
    alike: impl Fn(&str) -> String,
) -> M {
    replace(module, device, |path, shape| {
        drawn(path, shape).map(|deviation| {
            let mut random = Random::new(seed ^ stable_hash(&alike(path)));
            let (len, rows) = (shape.iter().product(), shape.first().copied().unwrap_or(1));
            let value = |index| (deviation.at(index, len, rows) * random.normal().clamp(-2.0, 2.0)) as f32;
            (0..len).map(value).collect()
        })
    })
}

/// The module on a device, parameters for which `choose` has values set to them.
fn replace<M: Module>(module: M, device: &Device, choose: impl Fn(&str, &[usize]) -> Option<Vec<f32>>) -> M {
    module.map(&mut Replace { path: Vec::new(), device, choose })
}

struct Replace<'d, F> {
    path: Vec<String>,
    device: &'d Device,
    choose: F,
}

impl<F: Fn(&str, &[usize]) -> Option<Vec<f32>>> ModuleMapper for Replace<'_, F> {
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

/// Sets parameters from elsewhere, such as a checkpoint, without drawing the random values that they replace.
/// `values(path, shape)` answers for every parameter; one for which it has nothing stays as it is.
#[must_use]
pub fn load<M: Module>(module: M, values: impl FnMut(&str, &[usize]) -> Option<Vec<f32>>) -> M {
    module.map(&mut Load { path: Vec::new(), values })
}

struct Load<F> {
    path: Vec<String>,
    values: F,
}

impl<F: FnMut(&str, &[usize]) -> Option<Vec<f32>>> ModuleMapper for Load<F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape().to_vec();
        let Some(values) = (self.values)(&self.path.join("."), &shape) else { return param };
        let tensor = Tensor::from_data(TensorData::new(values, shape), &param.lazy_device());
        // Asking a parameter itself would first draw the random values that these replace.
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}

/// A hash that is the same in every run and version (FNV-1a).
#[must_use]
pub fn stable_hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
