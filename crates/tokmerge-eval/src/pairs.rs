//! How well sentence vectors say which sentences mean the same: the correlation of their cosines with people's scores.

use crate::cosine::cosine;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use tokmerge_data::text::{TextError, TokenIds, check_text};
use tokmerge_data::way_out;
use tokmerge_merge::Reduction;
use tokmerge_metrics::{CorrelationError, pearson, spearman};
use tokmerge_models::{Batch, Convention, Model, NotFinite};

/// Two sentences, and how alike people find them.
#[derive(Clone, Debug, PartialEq)]
pub struct SentencePair {
    /// The sentences.
    pub sentences: [String; 2],
    /// More for more alike.
    pub score: f64,
}

/// Why pairs were not read or not compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairsError {
    /// The file.
    #[error("{}: {source}{}", path.display(), way_out(source))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of it.
    #[error("{}: line {line} {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Neither form.
    #[error(
        "{}: must be a table with the columns sentence1, sentence2 and score, or the lines of STS-B (seven fields between \
         tabs, the score in the fifth)",
        path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// The model takes no texts.
    #[error("the model takes {media}, and pairs of sentences are for models of texts")]
    NoTexts {
        /// What it takes.
        media: &'static str,
    },
    /// A text of a pair.
    #[error("pair {pair}: {source}")]
    Text {
        /// From 1.
        pair: usize,
        /// Why.
        source: TextError,
    },
    /// An embedding is not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// There is no correlation.
    #[error(transparent)]
    Correlation(#[from] CorrelationError),
}

/// What a method makes of pairs of sentences.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairsAccuracy {
    /// The method.
    pub merge: String,
    /// Pairs.
    pub pairs: usize,
    /// Distinct sentences of them.
    pub sentences: usize,
    /// Those whose end is left out, since the model has no room for it.
    pub cut_sentences: usize,
    /// Rank correlation of cosines and scores, times 100.
    pub spearman: f64,
    /// Its 95 % interval, by Fisher's transformation.
    pub spearman_interval: (f64, f64),
    /// Linear correlation, times 100.
    pub pearson: f64,
    /// Mean cosine of a sentence's vector to that of the first method.
    pub mean_cosine: f64,
    /// Tokens of a sentence after the last block, in the mean.
    pub mean_tokens: f64,
    /// Billions of multiply-adds of a sentence, in the mean.
    pub gmacs: f64,
    /// Distinct sentences over the seconds of the forward passes.
    pub sentences_per_second: f64,
}

/// The pairs of a file: a table with a header (CSV, or with tabs), or STS-B's own lines.
///
/// # Errors
/// When it cannot be read, or has neither form.
pub fn read_pairs(path: &Path) -> Result<Vec<SentencePair>, PairsError> {
    let read = |source| PairsError::Read { path: path.to_owned(), source };
    let mut first = String::new();
    let mut file = BufReader::new(File::open(path).map_err(read)?);
    check_text(file.fill_buf().map_err(read)?).map_err(|error| read(io::Error::other(error)))?;
    file.read_line(&mut first).map_err(read)?;
    let fields: Vec<&str> = first.trim_end().split('\t').collect();
    let own = fields.len() >= 7 && fields[4].parse::<f64>().is_ok();
    let tabs = fields.len() > 1;
    let mut table = csv::ReaderBuilder::new();
    table.has_headers(!own).flexible(true).delimiter(if tabs { b'\t' } else { b',' }).quoting(!tabs);
    let mut table = table.from_path(path).map_err(|error| read(error.into()))?;
    let form = || PairsError::Form { path: path.to_owned() };
    let columns = match own {
        true => [5, 6, 4],
        false => {
            let header = table.headers().map_err(|error| read(error.into()))?.clone();
            let column = |names: &[&str]| header.iter().position(|name| names.contains(&name.trim()));
            let names = [["sentence1", "text1"], ["sentence2", "text2"], ["score", "similarity_score"]];
            let found = names.map(|names| column(&names));
            [found[0].ok_or_else(form)?, found[1].ok_or_else(form)?, found[2].ok_or_else(form)?]
        }
    };
    let mut pairs = Vec::new();
    for (row, record) in table.records().enumerate() {
        let line = row + 1 + usize::from(!own);
        let wrong = |reason: String| PairsError::Line { path: path.to_owned(), line, reason };
        let record = record.map_err(|error| wrong(format!("cannot be read ({error})")))?;
        let field = |column: usize| record.get(column).ok_or_else(|| wrong("has too few fields".to_owned()));
        let score = field(columns[2])?.trim();
        let score: f64 = score
            .parse()
            .ok()
            .filter(|score: &f64| score.is_finite())
            .ok_or_else(|| wrong(format!("has the score {score:?}, which is no number")))?;
        pairs.push(SentencePair {
            sentences: [field(columns[0])?.to_owned(), field(columns[1])?.to_owned()],
            score,
        });
    }
    Ok(pairs)
}

/// Compares the cosines of sentence vectors with people's scores, for every method. `done` is told how many sentences were
/// embedded.
///
/// # Errors
/// When the model takes no texts, a sentence has no token, or an embedding is not finite.
pub fn evaluate_pairs(
    model: &Model,
    reductions: &[Reduction],
    pairs: &[SentencePair],
    batch_size: usize,
    convention: Convention,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<PairsAccuracy>, PairsError> {
    let media = model.media().words();
    let processor = model.processor().text().ok_or(PairsError::NoTexts { media })?;
    let (mut places, mut texts, mut ends) = (HashMap::new(), Vec::<TokenIds>::new(), Vec::new());
    for (index, pair) in pairs.iter().enumerate() {
        for sentence in &pair.sentences {
            let place = match places.get(sentence.as_str()) {
                Some(place) => *place,
                None => {
                    let encoded = processor.encode(sentence);
                    texts.push(encoded.map_err(|source| PairsError::Text { pair: index + 1, source })?);
                    places.insert(sentence.as_str(), texts.len() - 1);
                    texts.len() - 1
                }
            };
            ends.push(place);
        }
    }
    let cut_sentences = texts.iter().filter(|tokens| tokens.is_cut).count();
    let scores: Vec<f64> = pairs.iter().map(|pair| pair.score).collect();
    let mut found: Vec<PairsAccuracy> = Vec::new();
    let mut first: Option<Vec<Vec<f32>>> = None;
    for reduction in reductions {
        let (mut vectors, mut tokens, mut gmacs, mut seconds) = (Vec::new(), 0, 0.0, 0.0);
        for chunk in texts.chunks(batch_size.max(1)) {
            let batch = Batch { texts: chunk.to_vec(), ..Batch::default() };
            let measured = model.measure(batch, reduction, convention)?;
            tokens += measured.tokens_left.iter().sum::<usize>();
            gmacs += measured.gmacs.iter().sum::<f64>();
            seconds += measured.seconds;
            vectors.extend(measured.embeddings);
            done(chunk.len());
        }
        let cosines: Vec<f64> =
            ends.chunks_exact(2).map(|ends| likeness(&vectors[ends[0]], &vectors[ends[1]])).collect();
        let rank = spearman(&cosines, &scores)?;
        let (low, high) = interval(rank, pairs.len());
        let count = texts.len() as f64;
        let against = first.as_ref().unwrap_or(&vectors);
        let mean_cosine = vectors.iter().zip(against).map(|(a, b)| likeness(a, b)).sum::<f64>() / count;
        found.push(PairsAccuracy {
            merge: reduction.method().to_string(),
            pairs: pairs.len(),
            sentences: texts.len(),
            cut_sentences,
            spearman: 100.0 * rank,
            spearman_interval: (100.0 * low, 100.0 * high),
            pearson: 100.0 * pearson(&cosines, &scores)?,
            mean_cosine,
            mean_tokens: tokens as f64 / count,
            gmacs: gmacs / count,
            sentences_per_second: count / seconds,
        });
        first.get_or_insert(vectors);
    }
    Ok(found)
}

/// 0 beside a vector of zeros.
fn likeness(a: &[f32], b: &[f32]) -> f64 {
    cosine(a, b).unwrap_or(0.0)
}

/// The 95 % interval of a rank correlation, by Fisher's transformation with the variance of Bonett and Wright (2000).
fn interval(rank: f64, pairs: usize) -> (f64, f64) {
    if pairs <= 3 {
        return (-1.0, 1.0);
    }
    let deviation = ((1.0 + rank * rank / 2.0) / (pairs as f64 - 3.0)).sqrt();
    let middle = rank.clamp(-0.999_999_9, 0.999_999_9).atanh();
    ((middle - 1.96 * deviation).tanh(), (middle + 1.96 * deviation).tanh())
}

#[cfg(test)]
mod tests {
    use super::{SentencePair, interval, read_pairs};
    use std::path::PathBuf;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.csv");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn pair(first: &str, second: &str, score: f64) -> SentencePair {
        SentencePair { sentences: [first.to_owned(), second.to_owned()], score }
    }

    #[test]
    fn tables_and_the_benchmarks_own_lines_are_read() {
        for text in [
            "score,sentence1,sentence2\n2.5,\"a, b\",c\n0,d,e\n",
            "index\tsentence1\tsentence2\tscore\n0\ta, b\tc\t2.5\n1\td\te\t0\n",
            "main\tnews\t2014\t0001\t2.500\ta, b\tc\nmain\tnews\t2014\t0002\t0\td\te\tmore\n",
        ] {
            let (_dir, path) = file(text);
            assert_eq!(read_pairs(&path).unwrap(), [pair("a, b", "c", 2.5), pair("d", "e", 0.0)], "{text}");
        }
        // A quotation mark between tabs is one.
        let (_dir, path) = file("m\tn\t1\t2\t1.0\t\"a\tb\"\n");
        assert_eq!(read_pairs(&path).unwrap(), [pair("\"a", "b\"", 1.0)]);
    }

    #[test]
    fn what_is_no_table_of_pairs_is_refused_with_its_line() {
        let message = |text: &str| {
            let (_dir, path) = file(text);
            read_pairs(&path).unwrap_err().to_string()
        };
        assert!(message("a,b\n1,2\n").contains("sentence1, sentence2 and score"));
        let error = message("sentence1,sentence2,score\na,b,1\na,b,much\n");
        assert!(error.contains("line 3") && error.contains("much"), "{error}");
        assert!(message("sentence1,sentence2,score\na,b,1\na\n").contains("too few fields"));
        assert!(message("sentence1,sentence2,score\na,b,NaN\n").contains("no number"));
    }

    #[test]
    fn intervals_hold_the_correlation_and_shrink_with_pairs() {
        let (low, high) = interval(0.82, 1379);
        assert!((low - 0.799).abs() < 5e-4 && (high - 0.839).abs() < 5e-4, "{low} {high}");
        assert_eq!(interval(0.5, 3), (-1.0, 1.0));
        assert!(interval(1.0, 10).1 <= 1.0);
    }
}
