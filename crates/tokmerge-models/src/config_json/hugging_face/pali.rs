//! `pali_like`: a SigLIP tower (`vision_config`), a T5 behind it (`text_config`), and the scoring module between them (`stm`).
//! transformers has no such model; each part has the fields of its own configuration there.

use super::{DescribeError, Given, Preparation, Reader, siglip, text};
use crate::families::pali::{PaliConfig, ROOM};
use crate::families::text::TextConfig;
use crate::network::Config;
use tokmerge_checkpoint::HfConfig;
use tokmerge_data::text::TextProcessor;
use tokmerge_data::{Processor, QuestionProcessor};
use tokmerge_merge::Method;

pub(super) const PALI: &str = "pali_like";

pub(super) fn pali(given: &Given<'_>) -> Result<(Config, Processor), DescribeError> {
    let all = Reader::new(given.config.fields()?);
    all.field("vision_config").required_object("vision_config")?;
    all.field("stm");
    let fields = Reader::new(all.field("text_config").required_object("text_config")?);
    // Its head makes one vector of the patches, which nobody reads here.
    given.vision.field("vision_use_head");
    let has = |path: &str, otherwise| given.has_parameter(&format!("text.{path}"), otherwise);
    let text = TextConfig { room: ROOM, ..text::t5_of(&fields, &has)? };
    let config = PaliConfig::new(siglip::tower(given)?, text);
    let picture = Preparation::SIGLIP.preprocess(config.tower.img_size).into();
    given.left_aside.borrow_mut().extend([all.unread(), fields.unread()].concat());
    let processor = QuestionProcessor { picture, text: TextProcessor::new(ROOM) };
    Ok((config.into(), processor.into()))
}

/// The method whose weights lie beside the model's, by the configuration: of `pali_like` soft token merging in front of the
/// language model. `None` where it names none.
///
/// # Errors
/// When its settings are nonsense, or not understood.
pub(crate) fn trained_with(config: &HfConfig) -> Result<Option<Method>, DescribeError> {
    if config.model_type != PALI {
        return Ok(None);
    }
    let (all, tower) = (config.fields()?, Reader::new(config.vision()?));
    let Some(fields) = all.object("stm")? else { return Ok(None) };
    let fields = Reader::new(fields);
    let (depth, channels) = (tower.depth("num_hidden_layers", 12)?, tower.channels("hidden_size", 768)?);
    let window = fields.channels("window", 2)?;
    let norm = fields.field("norm").text("norm", "layer")?;
    let scale = fields.field("scale").text("scale", "mean")?;
    let width = match fields.channels("width", channels / 2)? {
        half if half == channels / 2 => String::new(),
        width => format!(",width={width}"),
    };
    if let Some(unknown) = fields.unread().first() {
        return Err(all.refuse("stm", format!("has `{unknown}`, of which nothing is known")).into());
    }
    let spec = format!("stm:p={window},layer={},norm={norm},scale={scale}{width}", depth + 1);
    match spec.parse() {
        Ok(method) => Ok(Some(method)),
        Err(error) => Err(all.refuse("stm", format!("describes no method: {error}")).into()),
    }
}
