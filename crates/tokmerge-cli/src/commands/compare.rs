//! `tokmerge compare`.

use crate::args::{
    ClassArgs, ClassOrderArgs, Given, ModelArgs, OutputArgs, PreprocessArgs, at_least_one, batch_of,
    batch_size, method, must_exist,
};
use crate::commands::eval::labelled;
use crate::commands::searched::{self, check_labels};
use crate::output;
use crate::progress::{CompareProgress, note_left_out};
use crate::result_files::{Kind, Ours, ResultFiles};
use crate::shell::command_line;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokmerge::tune::compare::{CompareOptions, Comparison, Entrant, Role, Target, compare, report};
use tokmerge::tune::report::Setting;
use tokmerge::tune::{FEWEST_IMAGES, Fingerprint, Images, Search, Split, Tuner};
use tokmerge::{ClassFolder, ClassNames, EvalError, Labels, Media, Method, Model, Sample, split_list};

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Folder of images, sounds or clips like those the model will see; without labels agreement with the unmerged model is
    /// measured, and of a model without classes how alike its embeddings are
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The cost that every method is brought to, may be repeated: gmacs=0.7 (a fraction of the unmerged model's), gmacs=0.93G
    /// (billions), speedup=1.5 (measured on this machine) or tokens=64 (left after the last layer)
    #[arg(long, value_name = "COST", required = true)]
    pub(crate) at: Vec<Target>,
    /// Methods to compare, separated by commas: all, names such as tome,evit, or specs, whose other options are kept while
    /// how much they merge is brought to the cost, e.g. evit:keep=70%,rest=drop; or a merge.toml
    #[arg(long, value_name = "LIST", default_value = "all")]
    pub(crate) methods: Vec<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Random seed: which images methods are brought to the cost on, and what chance does
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Use this many images in all, spread evenly over the folder
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Bring methods to the cost on this many images and measure on the others [default: half, at most 256]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) search_images: Option<usize>,
    /// Images per forward pass when speed is measured [default: 8, of clips 1]
    #[arg(short, long, value_name = "N", value_parser = batch_size)]
    pub(crate) batch_size: Option<usize>,
    /// Maps folder names to classes: lines of index<TAB>wnid<TAB>name
    #[arg(long, value_name = "FILE", env = "TOKMERGE_LABELS")]
    pub(crate) labels: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) classes: ClassArgs,
    #[command(flatten)]
    pub(crate) class_order: ClassOrderArgs,
    /// Where to write the result, may be repeated: a page (.md), a chart (.svg) or a table (.csv); journals, from which an
    /// interrupted comparison goes on, are written beside the first (.journal.jsonl, .held-out.jsonl)
    #[arg(short, long, value_name = "FILE", default_value = "compare.md")]
    pub(crate) output: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) shown: OutputArgs,
}

pub(crate) fn run(args: &CompareArgs) -> Result<ExitCode> {
    let entrants = entrants(&args.methods)?;
    let files = Files::of(&args.output)?;
    must_exist(&args.dir, "folder")?;
    if args.model.media().is_ok_and(|media| media == Media::Text) {
        bail!(
            "compare takes folders of images, sounds or clips, and {} takes texts; use tokmerge eval with several --merge",
            args.model.name()
        );
    }
    let folder = args.model.folder(&args.dir, args.class_order.order())?;
    let names = args.labels.as_ref().map(ClassNames::open).transpose()?;
    let inputs = args.model.files();
    files.check(|| inputs.iter().chain(&args.labels).chain(args.classes.file()).map(PathBuf::as_path))?;
    note_left_out(&folder, &args.dir);
    let folder = match args.limit {
        Some(limit) => folder.limit(limit),
        None => folder,
    };
    // Refuses what is too little before the model is opened.
    let media = args.model.media().unwrap_or(Media::Image);
    args.halves(folder.samples().to_vec(), media)?;

    let (model, given) = args.classes.open_for(&args.model, &folder)?;
    let names = names.or(given.filter(ClassNames::has_ids));
    let model = args.preprocess.apply(model)?;
    let model = args.preprocess.for_folder(model, &folder)?;
    if model.classes() == 0 {
        args.given.refuse(&["labels"], format!("is for classes, and {} has none", model.name()))?;
    }
    args.at.iter().try_for_each(|target| target.check_for(&model, args.shown.convention))?;
    let (samples, labels) = samples(&folder, names.as_ref(), &model)?;
    let (searched, held_out) = args.halves(samples, model.media())?;
    searched::check_memory(&model, searched.len() + held_out.len(), "--limit")?;
    let open = |samples, what_for, journal: &Path| -> Result<Tuner<'_>> {
        let images = searched::read(&model, samples, what_for, (&args.model, &args.preprocess))?;
        args.tuner(&model, images, labels, journal)
    };
    let mut search = open(searched, "bring methods to the cost on", &files.journal)?;
    let mut held_out = open(held_out, "measure on", &files.held_out)?;
    let options = CompareOptions {
        targets: args.at.clone(),
        entrants,
        batch_size: batch_of(args.batch_size, 8, model.media()),
        seed: args.seed,
    };
    let mut progress = CompareProgress::new();
    let comparison = compare(&mut search, &mut held_out, &options, &mut progress);
    progress.clear();
    let comparison = comparison?;
    let setting = searched::setting(&args.model, args.shown.convention, args.seed, &model);
    files.write(&comparison, &setting)?;
    if args.shown.json {
        output::line(report::to_json(&comparison, &setting)?.to_string())?;
    } else {
        print(&comparison, &setting)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is compared, from names, specs and files.
fn entrants(lists: &[String]) -> Result<Vec<Entrant>> {
    let mut all = Vec::new();
    for text in lists.iter().flat_map(|list| split_list(list)) {
        match text.trim() {
            "all" => all.extend(Entrant::all()),
            file if file.to_lowercase().ends_with(".toml") => {
                all.push(Entrant { label: file.to_owned(), method: method(file)?, role: Role::Method });
            }
            named => all.push(Entrant::named(named)?),
        }
    }
    if all.iter().all(|entrant| entrant.method == Method::None) {
        bail!("--methods names nothing that merges; give all, or for example tome,evit");
    }
    Ok(all)
}

/// Images with the model's classes as labels, as far as it has any and they can be known.
fn samples(folder: &ClassFolder, names: Option<&ClassNames>, model: &Model) -> Result<(Vec<Sample>, Labels)> {
    match model.classes() {
        0 => Ok((folder.samples().to_vec(), Labels::Ignored)),
        1 => Err(EvalError::OneClass.into()),
        _ => {
            let (samples, labels) = labelled(folder, names, model)?;
            check_labels(&samples, labels, model)?;
            Ok((samples, labels))
        }
    }
}

impl CompareArgs {
    /// The images to bring methods to the cost on, and those to measure on.
    fn halves(&self, samples: Vec<Sample>, media: Media) -> Result<(Vec<Sample>, Vec<Sample>)> {
        const MOST_SEARCHED: usize = 256;
        let images = samples.len();
        let searched = self.search_images.unwrap_or((images / 2).min(MOST_SEARCHED));
        if images < 2 * FEWEST_IMAGES || searched + FEWEST_IMAGES > images {
            bail!(
                "{images} {} are too few: at least {FEWEST_IMAGES} are needed to bring methods to the cost on, and as many others to measure on; give more, or a smaller --search-images",
                media.words()
            );
        }
        let Split { search, held_out } = Split::new(samples, Search::Guided, Some(searched), self.seed)?;
        Ok((search, held_out))
    }

    fn tuner<'m>(
        &self,
        model: &'m Model,
        images: Images,
        labels: Labels,
        journal: &Path,
    ) -> Result<Tuner<'m>> {
        let convention = self.shown.convention;
        let fingerprint = Fingerprint::of(model, self.model.dtype.name(), convention, &images, &self.dir);
        let journal = searched::journal(journal, &fingerprint)?;
        Ok(Tuner::new(model, images, labels == Labels::Trusted, convention, journal)?)
    }
}

/// Environment variables that stand for flags of this command.
const VARIABLES: [&str; 6] = [
    "TOKMERGE_MODEL",
    "TOKMERGE_WEIGHTS",
    "TOKMERGE_DTYPE",
    "TOKMERGE_DEVICE",
    "TOKMERGE_THREADS",
    "TOKMERGE_LABELS",
];

/// Where results go.
struct Files {
    results: ResultFiles,
    journal: PathBuf,
    held_out: PathBuf,
}

/// By what files of comparisons are recognised.
const OURS: Ours =
    Ours { what: "comparison", page: report::is_page, chart: report::is_chart, table: report::is_csv };

impl Files {
    fn of(outputs: &[PathBuf]) -> Result<Self> {
        let results = ResultFiles::of(outputs, &OURS)?;
        let first = results.paths().next().map_or_else(PathBuf::new, PathBuf::clone);
        let beside = |ending: &str| first.with_extension(ending);
        Ok(Self { journal: beside("journal.jsonl"), held_out: beside("held-out.jsonl"), results })
    }

    /// A mistyped path must not cost a comparison.
    fn check<'p, I: Iterator<Item = &'p Path>>(&self, inputs: impl Fn() -> I) -> Result<()> {
        self.results.check(&inputs)?;
        for path in [&self.journal, &self.held_out] {
            output::refuse_inputs("--output", path, inputs())?;
            output::check_writable(path)?;
        }
        Ok(())
    }

    fn write(&self, comparison: &Comparison, setting: &Setting) -> Result<()> {
        self.results.write(|kind, path| {
            Ok(match kind {
                Kind::Page => {
                    report::to_markdown(comparison, setting, &command_line(&VARIABLES)).into_bytes()
                }
                Kind::Chart => report::chart(comparison, setting).to_svg().into_bytes(),
                Kind::Table => report::to_csv(comparison, setting)
                    .with_context(|| format!("cannot write {}", path.display()))?,
            })
        })
    }
}

fn print(comparison: &Comparison, setting: &Setting) -> Result<()> {
    output::line(report::setting_line(comparison, setting))?;
    for table in &comparison.tables {
        output::line(format!("\n{}: {}", table.at, table.cost))?;
        let (mut header, mut rows) = report::table(comparison, table, setting);
        // Specs are of very different lengths, and stand in the page and the table.
        header.pop();
        rows.iter_mut().for_each(|row| drop(row.pop()));
        output::line(output::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows))?;
        report::notes(table).iter().try_for_each(output::line)?;
    }
    output::line("")?;
    report::reading(comparison).iter().try_for_each(output::line)
}
