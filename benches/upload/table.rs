//! Rows that are measured in turns, so that a disk that is shared with others does not decide a ratio.
//!
//! Owns: the rounds. In each round every row of a table runs once, every other round in reverse; a ratio is taken within a
//! round, from neighbours in time, and what is printed is the median of the rounds, with the smallest and the largest.
//! Never does: leave out a round.
//!
//! Invariant: a row that cannot run says why in its place.

use crate::figures::Figures;

/// Rows that are compared with each other.
pub(crate) struct Table<'a> {
    title: &'static str,
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    title: String,
    ratios: Vec<Ratio>,
    work: Work<'a>,
    rounds: Vec<Figures>,
}

enum Work<'a> {
    Run(Box<dyn Fn() -> Figures + 'a>),
    Missing(&'static str),
}

struct Ratio {
    of: &'static str,
    /// The rows of which the slowest counts.
    rows: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(title: &'static str) -> Self {
        let rows = Vec::new();
        Self { title, rows }
    }

    /// Adds a row; returns its number.
    pub(crate) fn row(
        &mut self,
        title: impl Into<String>,
        work: impl Fn() -> Figures + 'a,
    ) -> usize {
        self.add(title.into(), Vec::new(), Work::Run(Box::new(work)))
    }

    /// Adds a row that is compared with the slowest of others.
    pub(crate) fn ratio(
        &mut self,
        title: impl Into<String>,
        of: &'static str,
        rows: &[usize],
        work: impl Fn() -> Figures + 'a,
    ) -> usize {
        let rows = rows.to_vec();
        self.add(
            title.into(),
            vec![Ratio { of, rows }],
            Work::Run(Box::new(work)),
        )
    }

    /// Compares `row` with the one of the release before too, where there is one.
    pub(crate) fn before(&mut self, row: usize, before: Option<usize>) {
        let ratios = before.map(|before| Ratio {
            of: "of (e)",
            rows: vec![before],
        });
        self.rows[row].ratios.extend(ratios);
    }

    /// Adds a row that cannot run.
    pub(crate) fn missing(&mut self, title: impl Into<String>, why: &'static str) -> usize {
        self.add(title.into(), Vec::new(), Work::Missing(why))
    }

    fn add(&mut self, title: String, ratios: Vec<Ratio>, work: Work<'a>) -> usize {
        let rounds = Vec::new();
        self.rows.push(Row {
            title,
            ratios,
            work,
            rounds,
        });
        self.rows.len() - 1
    }

    /// Measures and prints.
    pub(crate) fn run(mut self, rounds: usize) {
        for round in 0..rounds {
            let mut turn: Vec<usize> = (0..self.rows.len()).collect();
            if round % 2 == 1 {
                turn.reverse();
            }
            for row in turn {
                if let Work::Run(work) = &self.rows[row].work {
                    crate::quiet::wait();
                    let figures = work();
                    self.rows[row].rounds.push(figures);
                }
            }
        }
        println!("\n{:<40}{HEAD}", self.title);
        for row in &self.rows {
            println!("{:<40}{}", row.title, self.show(row));
        }
    }

    fn show(&self, row: &Row<'_>) -> String {
        if let Work::Missing(why) = row.work {
            return format!("  {why}");
        }
        let of = |figure: fn(&Figures) -> f64| median(row.rounds.iter().map(figure).collect());
        let cpu = row
            .rounds
            .iter()
            .filter_map(Figures::cpu_per_gib)
            .collect::<Vec<_>>();
        let cpu = match cpu.is_empty() {
            true => "-".to_owned(),
            false => format!("{:.2}", median(cpu)),
        };
        let ratios = row.ratios.iter().map(|ratio| self.ratio_of(row, ratio));
        format!(
            "{:>8.0}{:>9.0}{:>9.2}{:>9.2}{cpu:>9}{}",
            of(Figures::rate),
            of(Figures::requests),
            of(|figures| figures.at(0.5)),
            of(|figures| figures.at(0.99)),
            ratios.collect::<String>(),
        )
    }

    fn ratio_of(&self, row: &Row<'_>, ratio: &Ratio) -> String {
        let within = |round: usize| {
            let others = ratio
                .rows
                .iter()
                .filter_map(|other| self.rows[*other].rounds.get(round));
            let slowest = others.map(Figures::rate).fold(f64::INFINITY, f64::min);
            row.rounds[round].rate() / slowest
        };
        let mut all: Vec<f64> = (0..row.rounds.len()).map(within).collect();
        all.sort_by(f64::total_cmp);
        let (least, most) = (all[0], all[all.len() - 1]);
        let middle = median(all);
        format!("{middle:>8.2} {} ({least:.2} to {most:.2})", ratio.of)
    }
}

const HEAD: &str = "    MB/s    req/s   p50 ms   p99 ms  CPU/GiB   ratio (of all rounds)";

/// The middle one; of an even number the lower one, so that luck does not count.
pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[(all.len() - 1) / 2]
}
