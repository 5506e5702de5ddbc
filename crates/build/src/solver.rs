//! Runs a graph: every vertex as soon as what it builds on is done, several at a time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use coil_plan::{Graph, Vertex};

struct Board<R, E> {
    ready: VecDeque<usize>,
    /// For each vertex, how many inputs are still missing.
    missing: Vec<usize>,
    results: Vec<Option<R>>,
    left: usize,
    failed: Option<E>,
}

/// Runs every vertex of a graph on up to `jobs` threads; gives the results in the vertices' order.
///
/// `run` gets a vertex and its inputs' results. After an error nothing new is begun, what runs is waited for,
/// and the first error is given.
///
/// # Errors
/// The first that `run` gives.
pub fn solve<O, R, E>(
    graph: &Graph<O>,
    jobs: usize,
    run: impl Fn(&Vertex<O>, &[R]) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E>
where
    O: Sync,
    R: Clone + Send,
    E: Send,
{
    let vertices = graph.vertices();
    let missing: Vec<usize> = vertices.iter().map(|vertex| vertex.inputs.len()).collect();
    let ready = (0..vertices.len()).filter(|&at| missing[at] == 0).collect();
    let results = vertices.iter().map(|_| None).collect();
    let board = Mutex::new(Board {
        ready,
        missing,
        results,
        left: vertices.len(),
        failed: None,
    });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, vertices.len().max(1)) {
            scope.spawn(|| work(vertices, &board, &changed, &run));
        }
    });
    let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    match board.failed {
        Some(error) => Err(error),
        None => Ok(board.results.into_iter().flatten().collect()),
    }
}

fn work<O, R: Clone, E>(
    vertices: &[Vertex<O>],
    board: &Mutex<Board<R, E>>,
    changed: &Condvar,
    run: &(impl Fn(&Vertex<O>, &[R]) -> Result<R, E> + Sync),
) {
    loop {
        let mut locked = board.lock().unwrap_or_else(PoisonError::into_inner);
        let at = loop {
            if locked.left == 0 || locked.failed.is_some() {
                return;
            }
            match locked.ready.pop_front() {
                Some(at) => break at,
                None => locked = changed.wait(locked).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let vertex = &vertices[at];
        let inputs: Vec<R> = vertex
            .inputs
            .iter()
            .filter_map(|input| locked.results[input.index()].clone())
            .collect();
        drop(locked);
        let result = run(vertex, &inputs);
        let mut locked = board.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(result) => {
                locked.results[at] = Some(result);
                locked.left -= 1;
                for (next, other) in vertices.iter().enumerate() {
                    let uses = other.inputs.iter().filter(|input| input.index() == at).count();
                    if uses > 0 {
                        locked.missing[next] -= uses;
                        if locked.missing[next] == 0 {
                            locked.ready.push_back(next);
                        }
                    }
                }
            }
            Err(error) => {
                locked.failed.get_or_insert(error);
            }
        }
        drop(locked);
        changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_graphs_order_after_their_inputs() {
        let mut graph = Graph::new();
        let one = graph.add("one", 1, &[]);
        let two = graph.add("two", 2, &[one]);
        graph.add("sum", 0, &[one, two]);
        for jobs in 1..4 {
            let results = solve(&graph, jobs, |vertex, inputs: &[i32]| {
                Ok::<_, ()>(vertex.op + inputs.iter().sum::<i32>())
            });
            assert_eq!(results, Ok(vec![1, 3, 4]));
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut graph = Graph::new();
        let bad = graph.add("bad", true, &[]);
        graph.add("never", false, &[bad]);
        let result = solve(&graph, 2, |vertex, _: &[()]| {
            if vertex.op {
                Err("bad")
            } else {
                panic!("its input failed")
            }
        });
        assert_eq!(result, Err("bad"));
    }
}
