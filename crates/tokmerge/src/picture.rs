//! Where the tokens of an image went, as a picture (ToMe, appendix E).

mod grid;
mod sound;
mod weights;

pub use grid::{Column, picture_grid};
pub use sound::sound_picture;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use tokmerge_data::{MediaError, Prepared, PreprocessError, Processor, Rgb};
use tokmerge_merge::{MergePlan, Method, Mixture, Reduction, Site, Step, Tokens, Trace};
use tokmerge_models::{Model, NotFinite, Pass, Probe};
use tokmerge_viz::{
    ClipStyle, End, Grid, Overlap, Patches, Picture, Style, TubeGrid, render, save, save_clip, sheet,
    side_by_side,
};
pub use weights::{Weighed, weights_picture};

/// Why a picture cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The image cannot be brought to the model's input size.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The picture cannot be drawn or written.
    #[error(transparent)]
    Draw(#[from] tokmerge_viz::Error),
    /// Nothing has merged: there is nothing to see.
    #[error(
        "{merge} merges nothing{until}, so there is nothing to draw; give a `merge` that does, e.g. tome:r=13"
    )]
    NothingMerged {
        /// The method.
        merge: String,
        /// ` until layer N` or nothing.
        until: String,
    },
    /// All tokens come back after every block, so that none is merged when they are looked at.
    #[error(
        "{merge} works with fewer tokens inside layers only, and after each layer all of them are there again, so there is \
         nothing to draw; {instead}"
    )]
    Inflated {
        /// The method.
        merge: String,
        /// What can be drawn.
        instead: String,
    },
    /// Tokens become averages, without weights of their own.
    #[error(
        "{merge} mixes nothing by weights, so there are none to draw; give a `merge` that does, e.g. stm:p=2,layer=4"
    )]
    NoWeights {
        /// The method.
        merge: String,
    },
    /// An output is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// Every image has its own grid of patches.
    #[error(
        "images of this model keep sizes of their own, which is not drawn yet; take a model of one image size"
    )]
    NoGrid,
    /// What is to be drawn was prepared for another model.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The model takes something else.
    #[error("{model} takes {takes}, and what is to be drawn is none of them; give one of these")]
    Other {
        /// The model.
        model: String,
        /// What it takes.
        takes: &'static str,
    },
    /// No such layer.
    #[error("layer {layer} does not exist: the model has layers 1 to {depth}")]
    Layer {
        /// As given, counted from 1.
        layer: usize,
        /// Blocks of the model.
        depth: usize,
    },
}

impl PictureError {
    fn other(model: &Model) -> Self {
        Self::Other { model: model.name(), takes: model.media().words() }
    }
}

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Patches of the image.
    pub patches: usize,
    /// Tokens that are left of them, prefix tokens not included.
    pub tokens: usize,
    /// How patches went into tokens.
    pub membership: Membership,
}

/// How patches went into tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Membership {
    /// Each into one, or into none.
    Grouped,
    /// Each is itself: one layer works on some of them, while the others wait.
    Waiting,
    /// By weights, each into several: drawn is the one in which it weighs most.
    Mixed {
        /// Tokens in which any patch weighs most. Of the others nothing is to be seen.
        shown: usize,
        /// The part of a patch's weights that is drawn, mean of all patches, from 0 to 1.
        part: f64,
    },
}

/// As the caption of a picture says it.
impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { patches, tokens, membership } = self;
        match membership {
            Membership::Grouped => write!(f, "{patches} patches in {tokens} tokens"),
            Membership::Waiting => {
                write!(f, "{tokens} of {patches} patches work; the other {} wait unchanged", patches - tokens)
            }
            Membership::Mixed { shown, part } => write!(
                f,
                "{patches} patches mixed into {tokens} tokens; each is drawn in the one where it weighs most, {:.0} % of \
                 its weight on average, and {} of the tokens appear",
                1e2 * part,
                if shown == tokens { "all".to_owned() } else { shown.to_string() }
            ),
        }
    }
}

/// Draws an image, as the model sees it, beside the tokens that are left after `layer` blocks (all blocks if
/// `None`), and writes it as PNG or SVG by the ending of `path`. Where a method mixes tokens by weights, a patch is
/// drawn in the token in which it weighs most. Where all tokens are there again after each block, the tokens that block
/// `layer` works on are drawn.
///
/// # Errors
/// When nothing merges until there, the layer does not exist, or the file cannot be written.
pub fn picture(
    model: &Model,
    reduction: &Reduction,
    image: &Rgb,
    layer: Option<usize>,
    style: &Style,
    path: &Path,
) -> Result<Drawn, PictureError> {
    let Merged { seen, patches, groups, drawn } = merged(model, reduction, image, layer)?;
    save(path, &seen, patches, &groups, style, &caption(model, reduction, layer, &drawn))?;
    Ok(drawn)
}

/// What a picture shows, in one line.
fn caption(model: &Model, reduction: &Reduction, layer: Option<usize>, drawn: &impl fmt::Display) -> String {
    let place = if reduction.method().inflates() { "in" } else { "after" };
    let after = layer.map_or_else(String::new, |layer| format!(" {place} layer {layer}"));
    format!("{}, {}{after}: {drawn}", model.name(), reduction.method())
}

/// Draws images, each beside the tokens that are left of it, `columns` of them in a row, and writes them as PNG.
///
/// # Errors
/// As [`picture`].
pub fn picture_sheet(
    model: &Model,
    reduction: &Reduction,
    images: &[Rgb],
    columns: usize,
    style: &Style,
    path: &Path,
) -> Result<(), PictureError> {
    let pairs: Result<Vec<Picture>, PictureError> = images
        .iter()
        .map(|image| {
            let Merged { seen, patches, groups, .. } = merged(model, reduction, image, None)?;
            Ok(side_by_side(&seen, &render(&seen, patches, &groups, style)?, SHEET_GAP)?)
        })
        .collect();
    Ok(sheet(&pairs?, columns, 4 * SHEET_GAP)?.write_png(path)?)
}

/// Draws a clip as the model sees it beside the tokens that are left of it, each with one fill and one border colour over
/// all frames, so that a token can be followed through time (ToMe, figure 6): as a strip of frames (PNG, SVG) or an
/// animation (GIF, APNG) by the ending of `path`. Of several views the first is drawn.
///
/// # Errors
/// As [`picture`], and when the model takes no clips.
pub fn clip_picture(
    model: &Model,
    reduction: &Reduction,
    clip: &Prepared,
    layer: Option<usize>,
    style: &ClipStyle,
    path: &Path,
) -> Result<Drawn, PictureError> {
    let shape = model.config().shape();
    let (rows, cols) = drawable(model, reduction, layer)?;
    let (Processor::Clip(_), Prepared::Clip(views)) = (model.processor(), clip) else {
        return Err(PictureError::other(model));
    };
    let mut values = model.batch(std::slice::from_ref(clip))?.values;
    values.truncate(model.input().len());
    let (groups, tokens, membership) = found(model, reduction, values, layer)?;
    let frames = (0..views.frames()).map(|frame| {
        let picture = views.picture(0, frame);
        Picture::new(picture.width, picture.height, picture.data)
    });
    let frames: Vec<Picture> = frames.collect::<Result<_, _>>()?;
    let tubelet = frames.len() / shape.steps.max(1);
    let grid = TubeGrid { steps: shape.steps, tubelet, rows, cols };
    let drawn = Drawn { patches: groups.len(), tokens, membership };
    save_clip(path, &frames, grid, &groups, style, &caption(model, reduction, layer, &drawn))?;
    Ok(drawn)
}

/// White pixels between an image and its tokens.
const SHEET_GAP: usize = 2;

/// An image as the model sees it, and what became of its patches.
struct Merged {
    seen: Picture,
    patches: Patches,
    /// The token of every patch; none where it was dropped.
    groups: Vec<Option<u32>>,
    drawn: Drawn,
}

/// An image as the model sees it.
struct Seen {
    seen: Picture,
    /// The input of the model.
    pixels: Vec<f32>,
    patches: Patches,
}

fn see(
    model: &Model,
    reduction: &Reduction,
    image: &Rgb,
    layer: Option<usize>,
) -> Result<Seen, PictureError> {
    let (rows, cols) = drawable(model, reduction, layer)?;
    let patches = laid_out(model, Grid { rows, cols }, End::Near, 1);
    let preprocess = model.preprocess().ok_or_else(|| PictureError::other(model))?;
    let seen = preprocess.crop(image)?;
    let mut pixels = vec![0.0; preprocess.output_len()];
    preprocess.normalise(&seen, &mut pixels)?;
    Ok(Seen { seen: Picture::new(seen.width, seen.height, seen.data)?, pixels, patches })
}

fn merged(
    model: &Model,
    reduction: &Reduction,
    image: &Rgb,
    layer: Option<usize>,
) -> Result<Merged, PictureError> {
    let Seen { seen, pixels, patches } = see(model, reduction, image, layer)?;
    let (groups, tokens, membership) = found(model, reduction, pixels, layer)?;
    let drawn = Drawn { patches: groups.len(), tokens, membership };
    Ok(Merged { seen, patches, groups, drawn })
}

/// Rows and columns of patches, where what is left after `layer` can be drawn.
fn drawable(
    model: &Model,
    reduction: &Reduction,
    layer: Option<usize>,
) -> Result<(usize, usize), PictureError> {
    let depth = model.config().depth();
    if let Some(layer) = layer.filter(|layer| *layer == 0 || *layer > depth) {
        return Err(PictureError::Layer { layer, depth });
    }
    let method = reduction.method();
    if method.inflates() && (method.mixes() || layer.is_none()) {
        return Err(inflated(method));
    }
    model.config().shape().grid.ok_or(PictureError::NoGrid)
}

/// Refuses a method that brings all tokens back after a block, with what can be drawn: of one that mixes them, without the
/// option by which it does; of others, the tokens inside a layer.
fn inflated(method: &Method) -> PictureError {
    const OPTIONS: [&str; 3] = ["inflate", "unmerge", "fuse"];
    let options = method.spec().options;
    let option = options.into_iter().map(|(name, _)| name).find(|name| OPTIONS.contains(&name.as_str()));
    let first = match (method.mixes(), option) {
        (true, Some(option)) => format!("give it {option}=off"),
        _ => "give a `layer` whose tokens are to be drawn".to_owned(),
    };
    let instead = format!("{first}, or a `merge` that keeps tokens merged, e.g. tome:r=13");
    PictureError::Inflated { merge: method.to_string(), instead }
}

/// How the patches of a model lie over a picture of its input, `upscale` pixels for each of its own. `first` says where
/// the first of a column is.
fn laid_out(model: &Model, grid: Grid, first: End, upscale: usize) -> Patches {
    let shape = model.config().shape();
    if shape.patch_stride == shape.patch {
        return Patches::Beside(grid);
    }
    // Overlapping patches are squares.
    let overlap = |count, first| Overlap {
        count,
        size: shape.patch.0 * upscale,
        stride: shape.patch_stride.0 * upscale,
        first,
    };
    Patches::Overlapping { down: overlap(grid.rows, first), across: overlap(grid.cols, End::Near) }
}

/// The token of every patch, the number of tokens, and how the ones went into the others.
fn found(
    model: &Model,
    reduction: &Reduction,
    values: Vec<f32>,
    layer: Option<usize>,
) -> Result<(Vec<Option<u32>>, usize, Membership), PictureError> {
    let found = if reduction.method().mixes() {
        mixed(model, reduction, values, layer)?
    } else {
        grouped(model, reduction, values, layer)?
    };
    found.ok_or_else(|| nothing_merged(reduction, layer))
}

fn nothing_merged(reduction: &Reduction, layer: Option<usize>) -> PictureError {
    PictureError::NothingMerged {
        merge: reduction.method().to_string(),
        until: layer.map_or_else(String::new, |layer| format!(" until layer {layer}")),
    }
}

/// The token of every patch, the number of tokens, and how the ones went into the others; `None` if nothing merged.
type Found = Option<(Vec<Option<u32>>, usize, Membership)>;

fn grouped(
    model: &Model,
    reduction: &Reduction,
    pixels: Vec<f32>,
    layer: Option<usize>,
) -> Result<Found, NotFinite> {
    let prefix = model.facts().prefix;
    let output = model.run(pixels, Pass::new(reduction));
    NotFinite::check_tensor(&output.logits)?;
    Ok(plan_of(&output.trace, reduction, layer).map(|plan| {
        let groups = plan.groups(0)[prefix..].to_vec();
        let waiting = reduction.method().inflates() && groups.contains(&None);
        let membership = if waiting { Membership::Waiting } else { Membership::Grouped };
        (groups, plan.output().rows() - prefix, membership)
    }))
}

/// Which token every original one is after `layer` blocks, or in the last of them where all are there again after it.
fn plan_of(trace: &Trace, reduction: &Reduction, layer: Option<usize>) -> Option<MergePlan> {
    match layer {
        Some(layer) if reduction.method().inflates() => {
            trace.plan_at(Step { layer: layer - 1, site: Site::AroundBlock }).cloned()
        }
        layer => trace.plan_until(layer.map(|layer| layer - 1)),
    }
}

fn mixed(
    model: &Model,
    reduction: &Reduction,
    pixels: Vec<f32>,
    layer: Option<usize>,
) -> Result<Found, NotFinite> {
    let Some(mixture) = mixture_of(model, reduction, pixels, layer)? else { return Ok(None) };
    let tokens = weights::tokens(&mixture, model);
    let patches = model.facts().prefix..mixture.inputs();
    let largest: Vec<_> = patches.map(|patch| mixture.largest(patch)).collect();
    let groups: Vec<_> = largest.iter().map(|largest| largest.map(|largest| largest.output as u32)).collect();
    let shown = groups.iter().flatten().collect::<BTreeSet<_>>().len();
    let parts = largest.iter().flatten().map(|largest| f64::from(largest.part));
    let part = parts.sum::<f64>() / largest.len() as f64;
    Ok(Some((groups, tokens, Membership::Mixed { shown, part })))
}

/// What weights made of the tokens of an image until `layer` blocks have run; `None` if nothing was mixed.
fn mixture_of(
    model: &Model,
    reduction: &Reduction,
    pixels: Vec<f32>,
    layer: Option<usize>,
) -> Result<Option<Mixture>, NotFinite> {
    let mut mixing = Mixing { reduction, until: layer.unwrap_or(usize::MAX), mixture: None };
    let output = model.run(pixels, Pass::new(reduction).probed(&mut mixing));
    NotFinite::check_tensor(&output.logits)?;
    // What weights make is computed again as tokens enter a block, what a method makes without them is in the trace.
    Ok(mixing.mixture.or_else(|| output.trace.mixture_until(0, layer.map(|layer| layer - 1))))
}

/// Sees what weights make of the tokens of the first image, block by block.
struct Mixing<'r> {
    reduction: &'r Reduction,
    /// Blocks to look at.
    until: usize,
    mixture: Option<Mixture>,
}

impl Probe for Mixing<'_> {
    fn entering(&mut self, layer: usize, tokens: &Tokens) {
        if layer >= self.until {
            return;
        }
        let mixtures = self.reduction.mixtures(layer, tokens);
        if let Some(next) = mixtures.and_then(|mixtures| mixtures.into_iter().next()) {
            self.mixture = Some(self.mixture.take().map_or(next.clone(), |before| before.then(&next)));
        }
    }
}
