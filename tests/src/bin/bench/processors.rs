//! Which processor does what: were the gateway moved about by the load that it works for, each round would measure
//! something else.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors that this thread may use.
///
/// # Panics
/// When the kernel does not tell which there are.
pub fn usable() -> Vec<usize> {
    let usable = sched_getaffinity(Pid::this()).expect("a process may ask where it runs");
    (0..CpuSet::count())
        .filter(|at| usable.is_set(*at).unwrap_or(false))
        .collect()
}

/// The processors, shared out: some for the gateways, the rest for what they work with.
#[derive(Debug)]
pub struct Shares {
    gateways: CpuSet,
    rest: CpuSet,
}

impl Shares {
    /// Sets as many processors apart as a gateway has workers, half of them at most; `None` when there is only one.
    ///
    /// # Panics
    /// When the kernel does not tell which processors there are.
    pub fn for_workers(workers: usize) -> Option<Self> {
        let usable = usable();
        let (gateways, rest) = usable.split_at(workers.min(usable.len() / 2));
        (!gateways.is_empty()).then(|| Self {
            gateways: set_of(gateways),
            rest: set_of(rest),
        })
    }

    /// Keeps a gateway on its processors.
    pub fn confine_gateway(&self, gateway: Pid) {
        confine(gateway, &self.gateways);
    }

    /// Keeps this process and all it starts from now on away from them.
    pub fn confine_rest(&self) {
        confine(Pid::this(), &self.rest);
    }
}

fn set_of(processors: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for at in processors {
        set.set(*at).expect("the kernel named this processor");
    }
    set
}

/// Confines every thread there is; those that they start inherit it.
fn confine(process: Pid, set: &CpuSet) {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
    for task in tasks.flatten() {
        let name = task.file_name();
        if let Some(task) = name.to_str().and_then(|id| id.parse().ok()) {
            // A thread may have ended since.
            let _ = sched_setaffinity(Pid::from_raw(task), set);
        }
    }
}
