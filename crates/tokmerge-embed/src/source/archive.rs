//! Images inside a tar archive, as WebDataset's shards have them. Only headers are read when it is opened; members are
//! read where they lie.

use super::{Content, Encoded, add};
use crate::EmbedError;
use crate::error::one_line;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tokmerge_checkpoint::Fnv;
use tokmerge_data::{Media, is_left_behind, path_text};

/// Sizes in an archive are multiples of this.
const BLOCK: u64 = 512;

/// Endings that WebDataset's samples have beside the image; whatever has another is looked into.
const NO_IMAGES: [&str; 8] = ["json", "txt", "cls", "npy", "npz", "pt", "pth", "pyd"];

#[derive(Debug)]
pub(super) struct Archive {
    path: Arc<Path>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    key: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    At { offset: u64, size: u64 },
    Broken(String),
}

impl Archive {
    pub(super) fn open(path: &Path, media: Media) -> Result<Self, EmbedError> {
        let failed = |error: io::Error| EmbedError::read(path, error);
        let found = std::fs::metadata(path).map_err(failed)?;
        if !found.is_file() {
            return Err(EmbedError::read(path, "it is no regular file"));
        }
        let members = members(path, media, found.len()).map_err(failed)?;
        Ok(Self { path: path.into(), members })
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn digest(&self, digest: &mut Fnv) {
        for Member { key, place } in &self.members {
            add(digest, key.as_bytes());
            if let Place::At { offset, size } = place {
                add(digest, &offset.to_le_bytes());
                add(digest, &size.to_le_bytes());
            }
        }
    }

    pub(super) fn read(&self, range: Range<usize>) -> impl Iterator<Item = Encoded> + '_ {
        self.members[range].iter().map(|Member { key, place }| Encoded {
            key: key.clone(),
            content: match place {
                &Place::At { offset, size } => {
                    Content::Member { archive: Arc::clone(&self.path), offset, size }
                }
                Place::Broken(reason) => Content::Broken(reason.clone()),
            },
        })
    }
}

/// Images in an archive of `length` bytes, in order; at the end, what is wrong with it, if anything is.
fn members(path: &Path, media: Media, length: u64) -> io::Result<Vec<Member>> {
    // A handle of its own: it moves while headers are read.
    let mut starts = File::open(path)?;
    let mut archive = tar::Archive::new(BufReader::new(File::open(path)?));
    let (mut members, mut end, mut wrong) = (Vec::new(), 0_u64, None);
    for entry in archive.entries_with_seek()? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                wrong = Some(one_line(&error.to_string()));
                break;
            }
        };
        let kind = entry.header().entry_type();
        let size = if kind.is_gnu_sparse() { entry.header().entry_size()? } else { entry.size() };
        let offset = entry.raw_file_position();
        let name = member_path(&entry.path_bytes());
        let Some(behind) = offset.checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK))
        else {
            wrong = Some(format!("member {} claims {size} bytes", one_line(&path_text(&name))));
            break;
        };
        end = end.max(behind);
        let cut = offset + size > length;
        if kind.is_file() && is_wanted(media, &name, &mut starts, offset, size) {
            let place = match cut {
                false => Place::At { offset, size },
                true => Place::Broken(format!("{}: ends in the middle of this member", path.display())),
            };
            members.push(Member { key: path_text(&name.with_extension("")), place });
        }
        if cut {
            wrong = Some(format!("member {} is cut off", one_line(&path_text(&name))));
            break;
        }
    }
    // A tar that is whole ends with blocks of zeros.
    if wrong.is_none() && !zeros_at(&mut starts, end) {
        wrong = Some("its end mark is missing".to_owned());
    }
    if let Some(wrong) = wrong {
        let reason = format!(
            "{}: the archive ends early or is damaged ({wrong}); what comes after is missing, fetch it again",
            path.display()
        );
        members.push(Member { key: path_text(path), place: Place::Broken(reason) });
    }
    Ok(members)
}

/// The path of a member, as text that is one.
fn member_path(bytes: &[u8]) -> PathBuf {
    let text = String::from_utf8_lossy(bytes);
    PathBuf::from(text.strip_prefix("./").unwrap_or(&text))
}

fn is_wanted(media: Media, name: &Path, file: &mut File, offset: u64, size: u64) -> bool {
    let hidden = |part: Component<'_>| match part {
        Component::Normal(part) => is_left_behind(part),
        _ => false,
    };
    if name.components().any(hidden) {
        return false;
    }
    if media.has_ending(name) {
        return true;
    }
    let ending = name.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if NO_IMAGES.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
        return false;
    }
    let mut start = [0; 12];
    size >= 12 && read_at(file, offset, &mut start).is_ok() && media.begins(&start)
}

fn zeros_at(file: &mut File, offset: u64) -> bool {
    let mut block = [0; BLOCK as usize];
    read_at(file, offset, &mut block).is_ok() && block.iter().all(|byte| *byte == 0)
}

fn read_at(file: &mut File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(into)
}
