//! Multi-head self-attention, up to but without its output projection.

use super::{Begun, BlockConfig, Context, LogitScale, NormConfig, QkNorm, QkvBias, relative_position_bias};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, s};
use tokmerge_merge::{Evidence, Layout, Merging, Metric, MetricRequest, Prefix, Received, Wants};
use tokmerge_nn::{Bias, Linear, Norm, zeros_parameter};
use tokmerge_ops::{
    Activation, AttentionSpec, HeadFeatures, Heads, LinearWeights, NormWeights, PairBias, Part, Precision,
    attention, attention_maps, attention_probabilities, attention_received, attention_received_from,
    cross_attention, gather_rows, head_features, linear, mix, norm_linear, normalise_heads, rotate_heads,
};

/// Queries, keys and values of all heads from one linear layer, and the projection of what they attend to.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[3 * H * D, C]`: queries, keys and values, heads inside each.
    pub qkv: Linear,
    /// Bias of the queries where keys have none, `[H * D]`.
    pub q_bias: Option<Param<Tensor<1>>>,
    /// Bias of the values where keys have none, `[H * D]`.
    pub v_bias: Option<Param<Tensor<1>>>,
    /// Of queries.
    pub q_norm: Option<Norm>,
    /// Of keys.
    pub k_norm: Option<Norm>,
    /// Before `proj`.
    pub norm: Option<Norm>,
    /// `[C, H * D]`.
    pub proj: Linear,
    /// A bias for every pair of places, per head, in models whose blocks have tables of their own.
    pub relative_position_bias_table: Option<Param<Tensor<2>>>,
    #[module(skip)]
    grid: Option<(usize, usize)>,
    #[module(skip)]
    qk_norm: QkNorm,
    #[module(skip)]
    num_heads: usize,
    #[module(skip)]
    head_dim: usize,
    #[module(skip)]
    scale: LogitScale,
}

impl Attention {
    /// Random until weights are loaded.
    #[must_use]
    pub fn new(config: &BlockConfig, precision: Precision, device: &Device) -> Self {
        let (channels, width) = (config.channels, config.heads * config.head_dim);
        let qk_norm = || match config.qk_norm {
            QkNorm::No => None,
            QkNorm::PerHead(norm) => Some(norm.layer(config.head_dim, device)),
            QkNorm::Whole(norm) => Some(norm.layer(width, device)),
        };
        let part = || (config.qkv_bias == QkvBias::QueryValue).then(|| zeros_parameter([width], device));
        let all = Bias::when(config.qkv_bias == QkvBias::All);
        Self {
            qkv: Linear::new(channels, 3 * width, all, precision, device),
            q_bias: part(),
            v_bias: part(),
            q_norm: qk_norm(),
            k_norm: qk_norm(),
            norm: config.attn_norm.then(|| config.norm.layer(width, device)),
            proj: Linear::new(width, channels, Bias::when(config.proj_bias), precision, device),
            relative_position_bias_table: None,
            grid: None,
            qk_norm: config.qk_norm,
            num_heads: config.heads,
            head_dim: config.head_dim,
            scale: config.logit_scale,
        }
    }

    /// The same with a table of relative positions for patches of a grid of `(rows, columns)` after a class token.
    #[must_use]
    pub fn with_relative_positions(self, grid: (usize, usize), device: &Device) -> Self {
        let rows = crate::positions::relative_positions(grid);
        let table = Some(zeros_parameter([rows, self.num_heads], device));
        Self { relative_position_bias_table: table, grid: Some(grid), ..self }
    }

    /// Heads and the factor on their logits.
    #[must_use]
    pub fn heads(&self) -> Heads {
        Heads { count: self.num_heads, dim: self.head_dim, scale: self.scale.of(self.head_dim) }
    }

    /// `H * D`.
    fn width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// The layer of queries, keys and values with whatever bias they have.
    pub(crate) fn qkv_weights(&self) -> LinearWeights {
        let weights = self.qkv.weights();
        let (Some(q), Some(v)) = (&self.q_bias, &self.v_bias) else { return weights };
        let (q, v) = (q.val(), v.val());
        let bias = Tensor::cat(vec![q.clone(), q.zeros_like(), v], 0);
        LinearWeights { bias: Some(bias), ..weights }
    }

    /// Queries, keys and values `[T, 3 * H * D]` of `x: [T, C]`, or of its norm. Queries and keys are normalised where the
    /// model does so, and not rotated.
    pub(crate) fn project(&self, x: Tensor<2>, norm: Option<NormWeights>) -> Tensor<2> {
        let qkv = normed_linear(x, norm, self.qkv_weights());
        let norms = [self.q_norm.as_ref(), self.k_norm.as_ref()];
        normalise_parts(qkv, norms, self.qk_norm, self.heads())
    }

    /// What comes first of attention of `input: [T, C]`, as [`EncoderBlock::begin`](super::EncoderBlock::begin) says. The input
    /// is normalised where the model does so.
    pub(crate) fn begin(&self, input: Tensor<2>, layout: &Layout, with: &Context) -> (Begun, Vec<f32>) {
        let heads = self.heads();
        let keys = self.project_part(input.clone(), Part::Key);
        let mut first = Vec::new();
        let mut whose = Vec::with_capacity(layout.rows());
        for range in (0..layout.items()).map(|item| layout.range(item)).filter(|range| !range.is_empty()) {
            whose.extend(std::iter::repeat_n(first.len() as u32, range.len()));
            first.push(range.start as u32);
        }
        let class = gather_rows(input.clone(), &first.as_slice().into());
        let queries = self.project_part(class, Part::Query);
        let (queries, turned) = match &with.rotation {
            None => (queries, keys.clone()),
            Some(rotation) => (
                rotate_heads(queries, heads, 1, &rotation.select(&first, heads)),
                rotate_heads(keys.clone(), heads, 1, rotation),
            ),
        };
        let products = gather_rows(queries, &whose.into()) * turned;
        let logits = products.without_autodiff().sum_dim(1);
        let logits = logits / self.num_heads as f64;
        (Begun { input, keys }, logits.into_data().iter::<f32>().collect())
    }

    /// Queries or keys, `[T, H * D]` of `input: [T, C]`, as [`project`](Self::project) gives them, or values.
    fn project_part(&self, input: Tensor<2>, part: Part) -> Tensor<2> {
        let width = self.width();
        let (start, norm) = match part {
            Part::Query => (0, self.q_norm.as_ref()),
            Part::Key => (width, self.k_norm.as_ref()),
            Part::Value => return self.project_values(input, None),
        };
        let rows = linear(input, self.qkv_weights().outputs(start..start + width), Activation::Identity);
        normalise_parts(rows, [norm], self.qk_norm, self.heads())
    }

    /// As [`project`](Self::project), where keys are there already.
    pub(crate) fn project_rest(&self, begun: &Begun) -> Tensor<2> {
        let Begun { input, keys } = begun.clone();
        let queries = self.project_part(input.clone(), Part::Query);
        Tensor::cat(vec![queries, keys, self.project_part(input, Part::Value)], 1)
    }

    /// The norms of queries and keys as the fused half takes them; none where they are over all heads, which it does not
    /// see at once.
    pub(crate) fn fused_qk_norm(&self) -> Option<[Option<NormWeights>; 2]> {
        let weights = |norm: &Option<Norm>| norm.as_ref().map(Norm::weights);
        match self.qk_norm {
            QkNorm::Whole(_) => None,
            QkNorm::No | QkNorm::PerHead(_) => Some([weights(&self.q_norm), weights(&self.k_norm)]),
        }
    }

    /// Whether it adds a bias of its own to pairs of tokens.
    pub(crate) fn has_pair_bias(&self) -> bool {
        self.relative_position_bias_table.is_some()
    }

    /// Attention with everything that the context adds.
    fn spec<'a>(&self, with: &Context, layout: &'a Layout) -> AttentionSpec<'a> {
        let own = self.relative_position_bias_table.as_ref().zip(self.grid);
        let own = own.map(|(table, grid)| relative_position_bias(table.val(), grid));
        let pair_bias = match (own, with.pair_bias.clone()) {
            (Some(PairBias::Shared(own)), Some(PairBias::Shared(shared))) => {
                Some(PairBias::Shared(own + shared))
            }
            (Some(_), Some(_)) => panic!("a model has one kind of pair bias"),
            (own, shared) => own.or(shared),
        };
        let precision = self.qkv.weights().precision.without_int8();
        AttentionSpec { pair_bias, ..spec(self.heads(), precision, with, layout) }
    }

    /// What tokens attend to, `[T, H * D]`, as `proj` sees it, and what a method asked for: queries and keys are compared
    /// as [`project`](Self::project) gives them.
    pub(crate) fn attend(
        &self,
        qkv: Tensor<2>,
        with: &Context,
        (layout, prefix): (&Layout, &Prefix),
        wants: Wants,
    ) -> (Tensor<2>, Evidence) {
        let heads = self.heads();
        let metric = wants.metric.and_then(of_heads);
        let metric = metric.map(|(part, heads_as)| head_features(qkv.clone(), heads, part, heads_as));
        let qkv = match &with.rotation {
            Some(rotation) => rotate_heads(qkv, heads, 2, rotation),
            None => qkv,
        };
        let spec = self.spec(with, layout);
        let received = match wants.received {
            Received::No => None,
            Received::FromAll => Some(attention_received(qkv.clone(), &spec)),
            Received::FromWords => Some(attention_received_from(qkv.clone(), &prefix.words(layout), &spec)),
        };
        let maps = wants.maps.map(|of| attention_maps(qkv.clone(), of, &spec));
        (self.normed(attention(qkv, &spec)), Evidence { metric, received, maps, ..Evidence::default() })
    }

    /// Queries and keys as they are compared, values among them that are not read, and what is asked of their softmax.
    pub(crate) fn query(&self, qkv: Tensor<2>, with: &Context, layout: &Layout, wants: Wants) -> Queries {
        let qkv = match &with.rotation {
            Some(rotation) => rotate_heads(qkv, self.heads(), 2, rotation),
            None => qkv,
        };
        let received = (wants.received == Received::FromAll)
            .then(|| attention_received(qkv.clone(), &self.spec(with, layout)));
        Queries { qkv, received }
    }

    /// What tokens attend to, of which some have merged meanwhile: `values` are those of the fewer. A merged key counts for as
    /// much as its members together, which is what they count for if all have its value; a merged query attends as its
    /// members do on average.
    pub(crate) fn attend_merging(
        &self,
        queries: Queries,
        values: Tensor<2>,
        merging: Option<&Merging>,
        with: &Context,
        layout: &Layout,
    ) -> Tensor<2> {
        let width = self.width();
        let of_all = match merging {
            Some(merging) => merging.plan.unmerge(values),
            None => values,
        };
        let compared = queries.qkv.slice(s![.., ..2 * width]);
        let y = attention(Tensor::cat(vec![compared, of_all], 1), &self.spec(with, layout));
        self.normed(match merging {
            Some(merging) => merging.average(y),
            None => y,
        })
    }

    /// What every token attends to, `[H, N, N]` for every item, by queries and keys as [`project`](Self::project) gives them.
    pub(crate) fn softmaxes(&self, qkv: Tensor<2>, with: &Context, layout: &Layout) -> Vec<Tensor<3>> {
        let qkv = match &with.rotation {
            Some(rotation) => rotate_heads(qkv, self.heads(), 2, rotation),
            None => qkv,
        };
        attention_probabilities(qkv, &self.spec(with, layout))
    }

    /// The values among queries, keys and values, `[T, 3 * H * D]` → `[T, H * D]`.
    pub(crate) fn values_of(&self, qkv: &Tensor<2>) -> Tensor<2> {
        let width = self.width();
        qkv.clone().slice(s![.., 2 * width..3 * width])
    }

    /// Values alone, `[T, H * D]` of `x: [T, C]`, or of its norm.
    pub(crate) fn project_values(&self, x: Tensor<2>, norm: Option<NormWeights>) -> Tensor<2> {
        let width = self.width();
        normed_linear(x, norm, self.qkv_weights().outputs(2 * width..3 * width))
    }

    /// What tokens attend to by given softmaxes, as `proj` sees it.
    pub(crate) fn mix(&self, maps: Vec<Tensor<3>>, values: Tensor<2>, layout: &Layout) -> Tensor<2> {
        self.normed(mix(maps, values, layout, self.heads()))
    }

    /// As [`attend`](Self::attend) gives the first tokens of every item, bit for bit: `front` are their rows of `x`, and
    /// the layouts belong to the two. Both are normalised first if there is a norm.
    pub(crate) fn attend_prefix(
        &self,
        [front, x]: [Tensor<2>; 2],
        [front_layout, layout]: [&Layout; 2],
        norm: Option<NormWeights>,
        with: &Context,
    ) -> Tensor<2> {
        let (width, heads, weights) = (self.width(), self.heads(), self.qkv_weights());
        let queries = normed_linear(front, norm.clone(), weights.clone().outputs(0..width));
        let queries = normalise_parts(queries, [self.q_norm.as_ref()], self.qk_norm, heads);
        let keys_values = match &with.begun {
            Some(begun) => Tensor::cat(vec![begun.keys.clone(), self.project_values(x, norm)], 1),
            None => {
                let keys_values = normed_linear(x, norm, weights.outputs(width..3 * width));
                normalise_parts(keys_values, [self.k_norm.as_ref()], self.qk_norm, heads)
            }
        };
        let (queries, keys_values) = match &with.rotation {
            None => (queries, keys_values),
            Some(rotation) => {
                let rows = (0..layout.items())
                    .flat_map(|item| layout.range(item).take(front_layout.range(item).len()))
                    .map(|row| row as u32);
                let of_queries = rotation.select(&rows.collect::<Vec<_>>(), heads);
                let queries = rotate_heads(queries, heads, 1, &of_queries);
                (queries, rotate_heads(keys_values, heads, 1, rotation))
            }
        };
        let spec = self.spec(with, layout);
        self.normed(cross_attention(queries, front_layout, keys_values, &spec))
    }

    fn normed(&self, y: Tensor<2>) -> Tensor<2> {
        match &self.norm {
            Some(norm) => norm.forward(y),
            None => y,
        }
    }
}

/// Queries and keys that are compared.
pub(crate) struct Queries {
    /// `[T, 3 * H * D]`, rotated where the model does so.
    qkv: Tensor<2>,
    /// Attention received, `[T]`, where it is asked for.
    pub(crate) received: Option<Vec<f32>>,
}

/// Attention with what the context adds.
pub(crate) fn spec<'a>(
    heads: Heads,
    precision: Precision,
    with: &Context,
    layout: &'a Layout,
) -> AttentionSpec<'a> {
    let Context { key_bias, pair_bias, mask, .. } = with.clone();
    AttentionSpec { precision, key_bias, pair_bias, mask, ..AttentionSpec::new(heads, layout) }
}

/// Normalises the first parts of `x: [T, P * H * D]`, each by its norm, and leaves the others.
pub(crate) fn normalise_parts<const N: usize>(
    x: Tensor<2>,
    norms: [Option<&Norm>; N],
    over: QkNorm,
    heads: Heads,
) -> Tensor<2> {
    let width = heads.count * heads.dim;
    match over {
        QkNorm::No => x,
        QkNorm::PerHead(_) => normalise_heads(x, heads, &norms.map(|norm| norm.map(Norm::weights))),
        QkNorm::Whole(_) => {
            let part = |range| x.clone().slice(s![.., range]);
            let normalised = norms.iter().enumerate().map(|(index, norm)| {
                let part = part(index * width..(index + 1) * width);
                norm.map_or(part.clone(), |norm| norm.forward(part))
            });
            let mut parts: Vec<Tensor<2>> = normalised.collect();
            let columns = x.dims()[1];
            if columns > N * width {
                parts.push(part(N * width..columns));
            }
            Tensor::cat(parts, 1)
        }
    }
}

/// A linear layer, of a norm if there is one.
pub(crate) fn normed_linear(x: Tensor<2>, norm: Option<NormWeights>, layer: LinearWeights) -> Tensor<2> {
    match norm {
        Some(norm) => norm_linear(x, norm, layer, Activation::Identity),
        None => linear(x, layer, Activation::Identity),
    }
}

impl NormConfig {
    /// Such a norm.
    pub(crate) fn layer(self, channels: usize, device: &Device) -> Norm {
        let bias = Bias::when(self.kind == super::NormKind::Layer);
        Norm::new(channels, self.kind, self.eps, bias, device)
    }
}

/// The metric of heads that is asked for; none where it is another.
pub(crate) fn of_heads(request: MetricRequest) -> Option<HeadFeatures> {
    let part = match request.of {
        Metric::Query => Part::Query,
        Metric::Key => Part::Key,
        Metric::Value => Part::Value,
        Metric::BlockInput | Metric::Entered | Metric::Attended => return None,
    };
    Some((part, request.heads))
}
