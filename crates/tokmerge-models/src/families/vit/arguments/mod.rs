//! Vision Transformers in the words of timm's constructors.
//!
//! | file | class |
//! |---|---|
//! | `plain.rs` | `VisionTransformer`, `VisionTransformerDistilled` |
//! | `eva.rs` | `Eva` |
//! | `beit.rs` | `Beit` |
//! | `common.rs` | what they share, and words of our own for what timm cannot say |

mod beit;
mod common;
mod eva;
mod plain;

use super::VitConfig;
use crate::config_json::{Arguments, ConfigureError};
use crate::network::Config;
use crate::registry::{Spelling, Written};
use serde_json::{Map, Value};

/// Names and arguments of Vision Transformers.
pub(crate) const SPELLING: Spelling = Spelling {
    tables: &[
        include_str!("../../vit.tsv"),
        include_str!("../../published.tsv"),
        include_str!("../../vmoe.tsv"),
        include_str!("../../sound.tsv"),
    ],
    read: |class, arguments| Ok(Config::Vit(read(class, arguments)?)),
    write: |config, class| match config {
        Config::Vit(config) => write(config, class),
        #[allow(unreachable_patterns, reason = "as long as there is one family")]
        _ => None,
    },
};

type Read = fn(&Arguments<'_>) -> Result<VitConfig, ConfigureError>;
type Write = fn(&VitConfig) -> Map<String, Value>;

/// Classes, a name whose arguments can become any of the class, and how they are read and written.
const CLASSES: &[(&str, &str, Read, Write)] = &[
    ("VisionTransformer", "vit_small_patch16_224", plain::read, plain::write),
    ("VisionTransformerDistilled", "deit_small_distilled_patch16_224", plain::read_distilled, plain::write),
    ("Eva", "eva02_small_patch14_224", eva::read, eva::write),
    ("Beit", "beit_base_patch16_224", beit::read, beit::write),
];

/// The shape that arguments describe.
pub(super) fn read(class: &str, arguments: &Arguments<'_>) -> Result<VitConfig, ConfigureError> {
    let Some((_, _, read, _)) = CLASSES.iter().find(|(known, ..)| *known == class) else {
        return Err(ConfigureError::Shape(format!(
            "{class} is no class of Vision Transformers that is known here"
        )));
    };
    let mut config = read(arguments)?;
    common::read_own(&mut config, arguments)?;
    arguments.finish(class, common::OF_TRAINING)?;
    Ok(config)
}

/// A class and the arguments with which it makes this shape; of a given class if there is one. `None` where no class can.
fn write(config: &VitConfig, class: Option<&str>) -> Option<Written> {
    CLASSES.iter().filter(|(known, ..)| class.is_none_or(|class| class == *known)).find_map(
        |(class, base, _, write)| {
            let mut arguments = write(config);
            common::write_own(config, &mut arguments);
            let read_back = read(class, &Arguments::new(&arguments)).ok();
            (read_back.as_ref() == Some(config)).then_some(Written {
                base,
                arguments,
                own: common::NOT_OF_TIMM,
            })
        },
    )
}
