//! PaLI in arguments: those of its two parts, each in the words of its own family.

use super::{PaliConfig, ROOM};
use crate::config_json::{Arguments, ConfigureError};
use crate::families::{encoder, text, vit};
use crate::network::Config;
use crate::registry::{Spelling, Written};
use serde_json::{Map, Value, json};

const CLASS: &str = "PaliTransformer";
const TOWER_CLASS: &str = "VisionTransformer";
const TEXT_CLASS: &str = "TextTransformer";

/// What is said of the tower beside its arguments, since names and files say it of all models.
const OF_TOWER: [&str; 3] = ["img_size", "patch_size", "in_chans"];

/// Names and arguments of towers of images with language models behind them.
pub(crate) const SPELLING: Spelling = Spelling {
    tables: &[include_str!("../pali.tsv")],
    read: |class, arguments| Ok(Config::Pali(read(class, arguments)?)),
    write: |config, class| match config {
        Config::Pali(config) if class.is_none_or(|class| class == CLASS) => write(config),
        _ => None,
    },
};

/// The arguments of a part, with those that stand for it where it says nothing itself.
fn part(
    arguments: &Arguments<'_>,
    name: &'static str,
    defaults: Value,
) -> Result<Map<String, Value>, ConfigureError> {
    let Value::Object(mut all) = defaults else { return Ok(Map::new()) };
    match arguments.value(name) {
        None => {}
        Some(Value::Object(given)) => all.extend(given.clone()),
        Some(_) => return Err(arguments.refused(name, "an object of arguments")),
    }
    Ok(all)
}

fn read(class: &str, arguments: &Arguments<'_>) -> Result<PaliConfig, ConfigureError> {
    encoder::check_class(class, CLASS)?;
    let bare = json!({"class_token": false, "global_pool": "avg", "fc_norm": false, "num_classes": 0});
    let mut tower = part(arguments, "tower", bare)?;
    for name in OF_TOWER {
        if let Some(value) = arguments.value(name) {
            tower.insert(name.to_owned(), value.clone());
        }
    }
    let mut text = part(arguments, "text", json!({"max_tokens": ROOM}))?;
    text.insert("num_classes".to_owned(), json!(arguments.count("num_classes", 0)?));
    arguments.finish(CLASS, encoder::OF_TRAINING)?;
    let tower = (vit::SPELLING.read)(TOWER_CLASS, &Arguments::new(&tower))?;
    let text = (text::SPELLING.read)(TEXT_CLASS, &Arguments::new(&text))?;
    match (tower, text) {
        (Config::Vit(tower), Config::Text(text)) => Ok(PaliConfig { tower, text }),
        _ => Err(ConfigureError::Shape(format!("{CLASS} is of other parts"))),
    }
}

fn write(config: &PaliConfig) -> Option<Written> {
    let tower = (vit::SPELLING.write)(&Config::Vit(config.tower.clone()), Some(TOWER_CLASS))?;
    let text = (text::SPELLING.write)(&Config::Text(config.text.clone()), Some(TEXT_CLASS))?;
    let said = |part: Map<String, Value>| part.into_iter().filter(|(_, value)| !value.is_null());
    let (mut tower, mut text): (Map<_, _>, Map<_, _>) =
        (said(tower.arguments).collect(), said(text.arguments).collect());
    let mut arguments = Map::new();
    for name in OF_TOWER {
        if let Some(value) = tower.shift_remove(name) {
            arguments.insert(name.to_owned(), value);
        }
    }
    arguments.extend(text.shift_remove("num_classes").map(|classes| ("num_classes".to_owned(), classes)));
    arguments.insert("tower".to_owned(), tower.into());
    arguments.insert("text".to_owned(), text.into());
    let read_back = read(CLASS, &Arguments::new(&arguments)).ok();
    (read_back.as_ref() == Some(config)).then_some(Written { base: "pali_tiny", arguments, own: &[] })
}
