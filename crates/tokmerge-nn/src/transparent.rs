//! Enums of modules that leave no trace in the paths of parameters.

/// Implements burn's `Module` for an enum whose variants each hold one module, so that a parameter's path is the same
/// whichever variant is there: `mlp.fc1.weight`, where a derived `Module` would say `mlp.Dense.fc1.weight`. Paths are
/// keys in checkpoints, and optimiser groups go by them.
///
/// ```
/// use burn::module::Module;
/// use tokmerge_nn::{Linear, Norm, transparent_module};
///
/// #[derive(Clone, Debug)]
/// enum Layer {
///     Linear(Linear),
///     Norm(Norm),
/// }
/// transparent_module!(Layer { Linear, Norm });
/// ```
#[macro_export]
macro_rules! transparent_module {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        const _: () = {
            use $crate::__private::burn::module::{
                Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
            };
            use $crate::__private::burn::tensor::Device;

            impl Module for $name {
                fn num_params(&self) -> usize {
                    match self { $(Self::$variant(inner) => Module::num_params(inner),)+ }
                }

                fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
                    match self { $(Self::$variant(inner) => inner.visit(visitor),)+ }
                }

                fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
                    match self { $(Self::$variant(inner) => Self::$variant(inner.map(mapper)),)+ }
                }

                fn collect_devices(&self, devices: Devices) -> Devices {
                    match self { $(Self::$variant(inner) => inner.collect_devices(devices),)+ }
                }

                fn to_device(self, device: &Device) -> Self {
                    match self { $(Self::$variant(inner) => Self::$variant(inner.to_device(device)),)+ }
                }

                fn fork(self, device: &Device) -> Self {
                    match self { $(Self::$variant(inner) => Self::$variant(inner.fork(device)),)+ }
                }

                fn valid(&self) -> Self {
                    match self { $(Self::$variant(inner) => Self::$variant(inner.valid()),)+ }
                }

                fn train(self) -> Self {
                    match self { $(Self::$variant(inner) => Self::$variant(inner.train()),)+ }
                }

                fn materialize(self) -> Self {
                    match self { $(Self::$variant(inner) => Self::$variant(inner.materialize()),)+ }
                }
            }

            impl ::std::fmt::Display for $name {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    match self { $(Self::$variant(inner) => ::std::fmt::Display::fmt(inner, f),)+ }
                }
            }

            impl ModuleDisplayDefault for $name {
                fn content(&self, content: Content) -> Option<Content> {
                    match self { $(Self::$variant(inner) => inner.content(content),)+ }
                }

                fn num_params(&self) -> usize {
                    Module::num_params(self)
                }
            }

            impl ModuleDisplay for $name {}
        };
    };
}

#[cfg(test)]
mod tests {
    use crate::{Bias, Linear, Norm, parameters};
    use burn::module::Module;
    use burn::tensor::Device;
    use tokmerge_ops::Precision;

    #[derive(Clone, Debug)]
    enum Layer {
        Linear(Linear),
        Norm(Norm),
    }
    transparent_module!(Layer { Linear, Norm });

    #[derive(Module, Debug)]
    struct Model {
        first: Layer,
        second: Layer,
    }

    #[test]
    fn paths_do_not_name_the_variant() {
        let device = Device::flex();
        let model = Model {
            first: Layer::Linear(Linear::new(2, 3, Bias::Yes, Precision::F32, &device)),
            second: Layer::Norm(Norm::layer(3, 1e-6, &device)),
        };
        let paths: Vec<String> = parameters::shapes(&model).into_keys().collect();
        assert_eq!(paths, ["first.bias", "first.weight", "second.bias", "second.weight"]);
        assert_eq!(parameters::count(&model), 6 + 3 + 3 + 3);
    }
}
