//! What is measured: the matrix.

use super::Extent;

/// One part of the matrix. Its results are a file of its own.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: What,
}

/// How a part is measured.
pub(crate) enum What {
    /// By `dlockctl bench`, each run against a server of its own.
    Loads(Vec<Run>),
    /// By `compare`, each store beside itself and the usual recipe.
    Stores,
    /// By criterion.
    Criterion,
    /// By callgrind.
    Instructions,
}

/// A server, and a load on it.
pub(crate) struct Run {
    pub(crate) durable: bool,
    pub(crate) arguments: Vec<String>,
}

/// Clients, and locks under way at a time.
const LOADS: [(u32, u32); 3] = [(1, 1), (4, 64), (4, 1024)];
/// Pairs per second of the open loops.
const RATES: [u32; 7] = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000];

/// Everything.
pub(crate) fn cases(extent: Extent) -> Vec<Case> {
    let loads = |name, runs| Case { name, what: What::Loads(runs) };
    let plan = Plan(extent);
    vec![
        loads("streams", plan.streams()),
        loads("unary", plan.unary()),
        loads("durable", plan.durable()),
        loads("hot", plan.hot()),
        loads("shared", plan.shared()),
        loads("workloads", plan.workloads()),
        loads("rates", plan.rates()),
        loads("idle", plan.idle()),
        loads("million", plan.million()),
        Case { name: "stores", what: What::Stores },
        Case { name: "criterion", what: What::Criterion },
        Case { name: "instructions", what: What::Instructions },
    ]
}

struct Plan(Extent);

impl Plan {
    fn run(&self, durable: bool, text: &str) -> Run {
        let (duration, warm_up) = match self.0 {
            Extent::Whole => ("12s", "2s"),
            Extent::Quick => ("1s", "200ms"),
        };
        let arguments = format!("bench {text} --duration {duration} --warm-up {warm_up}");
        Run { durable, arguments: arguments.split(' ').map(str::to_owned).collect() }
    }

    /// So many, or few if it is to be quick.
    fn many(&self, count: u32) -> u32 {
        match self.0 {
            Extent::Whole => count,
            Extent::Quick => (count / 50).max(count.min(100)),
        }
    }

    fn each_load(&self, durable: bool, more: &str) -> Vec<Run> {
        let run = |(clients, in_flight)| {
            self.run(durable, &format!("--clients {clients} --in-flight {in_flight} {more}"))
        };
        LOADS.into_iter().map(run).collect()
    }

    fn streams(&self) -> Vec<Run> {
        let drivers = ["--floor --driver load", "--floor --driver own"];
        drivers.into_iter().flat_map(|more| self.each_load(false, more)).collect()
    }

    fn unary(&self) -> Vec<Run> {
        self.each_load(false, "--floor --unary")
    }

    fn durable(&self) -> Vec<Run> {
        self.each_load(true, "--driver load")
    }

    fn hot(&self) -> Vec<Run> {
        let load = "--workload hot --driver load";
        vec![
            self.run(false, &format!("{load} --clients 4 --in-flight 64 --floor")),
            self.run(false, &format!("{load} --clients 4 --in-flight 512 --floor")),
            self.run(true, &format!("{load} --clients 4 --in-flight 64")),
        ]
    }

    fn shared(&self) -> Vec<Run> {
        let run = |held: u32| {
            let held = self.many(held);
            self.run(false, &format!("--workload read-shared --in-flight 16 --driver load --held {held}"))
        };
        [1, 100, 1_000, 10_000].into_iter().map(run).collect()
    }

    fn workloads(&self) -> Vec<Run> {
        let run = |workload| {
            self.run(false, &format!("--workload {workload} --clients 4 --in-flight 64 --driver load"))
        };
        ["uncontended", "mixed", "convert", "try", "sessions"].into_iter().map(run).collect()
    }

    fn rates(&self) -> Vec<Run> {
        let run =
            |rate| self.run(false, &format!("--clients 4 --in-flight 4096 --driver load --rate {rate}"));
        RATES.into_iter().map(run).collect()
    }

    fn idle(&self) -> Vec<Run> {
        let run = |sessions: u32| {
            let sessions = self.many(sessions);
            self.run(false, &format!("--workload idle-sessions --sessions {sessions} --connections 8"))
        };
        [10_000, 100_000].into_iter().map(run).collect()
    }

    fn million(&self) -> Vec<Run> {
        let run = |held: u32| {
            let held = self.many(held);
            self.run(false, &format!("--clients 4 --in-flight 64 --driver load --held {held}"))
        };
        [1_000, 1_000_000].into_iter().map(run).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_matrix_has_the_same_parts_and_runs() {
        let shape = |extent| -> Vec<(&str, usize)> {
            let runs = |case: &Case| match &case.what {
                What::Loads(runs) => runs.len(),
                What::Stores | What::Criterion | What::Instructions => 0,
            };
            cases(extent).iter().map(|case| (case.name, runs(case))).collect()
        };
        assert_eq!(shape(Extent::Whole), shape(Extent::Quick));
    }
}
