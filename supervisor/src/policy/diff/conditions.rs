//! The conditions of two rules, compared by what they let pass.

use super::{Changes, Way};
use crate::policy::condition::{Clause, Condition, Literal, Test};

/// Every condition must hold, so one more closes and one less opens; one that has a partner on the same path is compared
/// with it.
pub(super) fn compare(id: &str, old: &[Clause], new: &[Clause], changes: &mut Changes) {
    let mut gone: Vec<&Clause> = Vec::new();
    let mut left: Vec<&Clause> = new.iter().collect();
    for clause in old {
        match left.iter().position(|other| same(clause, other)) {
            Some(at) => drop(left.remove(at)),
            None => gone.push(clause),
        }
    }
    let passes: [fn(&Clause, &Clause) -> bool; 3] = [comparable, same_path, both_groups];
    let mut pairs = Vec::new();
    for fits in passes {
        gone.retain(|was| match left.iter().position(|is| fits(was, is)) {
            Some(at) => {
                pairs.push((*was, left.remove(at)));
                false
            }
            None => true,
        });
    }
    for (was, is) in pairs {
        changes.add(Way::of(implies(is, was), implies(was, is)), format!("{id}: {is}; was: {was}"));
    }
    for clause in gone {
        changes.add(Way::Opens, format!("{id}: no longer: {clause}"));
    }
    for clause in left {
        changes.add(Way::Closes, format!("{id}: {clause}"));
    }
}

/// Whether the two are one condition, lines aside.
fn same(a: &Clause, b: &Clause) -> bool {
    let all = |a: &[Clause], b: &[Clause]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    match (a, b) {
        (Clause::Test(a), Clause::Test(b)) => {
            a.steps == b.steps && a.if_present == b.if_present && same_test(&a.test, &b.test)
        }
        (Clause::Any(a, _), Clause::Any(b, _)) | (Clause::All(a, _), Clause::All(b, _)) => all(a, b),
        (Clause::Not(a, _), Clause::Not(b, _)) => same(a, b),
        _ => false,
    }
}

/// Numbers by value, all else as written.
fn same_test(a: &Test, b: &Test) -> bool {
    match (a, b) {
        (Test::Lt(a), Test::Lt(b)) | (Test::Lte(a), Test::Lte(b)) | (Test::Gt(a), Test::Gt(b)) => a == b,
        (Test::Gte(a), Test::Gte(b)) => a == b,
        (Test::Eq(a), Test::Eq(b)) | (Test::Neq(a), Test::Neq(b)) | (Test::Contains(a), Test::Contains(b)) => a == b,
        (Test::In(a), Test::In(b)) | (Test::NotIn(a), Test::NotIn(b)) => within(a, b) && within(b, a),
        // An operator and its value have no other parts than these; both derive Debug in full.
        _ => format!("{a:?}") == format!("{b:?}"),
    }
}

fn comparable(a: &Clause, b: &Clause) -> bool {
    same_path(a, b) && (implies(a, b) || implies(b, a))
}

fn same_path(a: &Clause, b: &Clause) -> bool {
    match (a, b) {
        (Clause::Test(a), Clause::Test(b)) => a.steps == b.steps && direction(&a.test) == direction(&b.test),
        _ => false,
    }
}

/// Bounds from above and from below, and all else: conditions of different directions are not the same one changed.
const fn direction(test: &Test) -> u8 {
    match test {
        Test::Lt(_) | Test::Lte(_) => 0,
        Test::Gt(_) | Test::Gte(_) => 1,
        Test::LengthLte(_) => 2,
        Test::Exists(_) => 3,
        _ => 4,
    }
}

const fn both_groups(a: &Clause, b: &Clause) -> bool {
    !matches!(a, Clause::Test(_)) && !matches!(b, Clause::Test(_))
}

/// Whether every call that passes `a` is known to pass `b`.
fn implies(a: &Clause, b: &Clause) -> bool {
    match (a, b) {
        (Clause::Test(a), Clause::Test(b)) => tests_imply(a, b),
        _ => same(a, b),
    }
}

fn tests_imply(a: &Condition, b: &Condition) -> bool {
    let present = !a.if_present || b.if_present; // else an absent path passes `a` alone
    a.steps == b.steps && present && values_imply(&a.test, &b.test)
}

/// Whether every value that passes `a` passes `b`. Where in doubt, no.
fn values_imply(a: &Test, b: &Test) -> bool {
    match (a, b) {
        (Test::Lt(x), Test::Lt(y) | Test::Lte(y)) | (Test::Lte(x), Test::Lte(y)) => x.decimal() <= y.decimal(),
        (Test::Lte(x), Test::Lt(y)) => x.decimal() < y.decimal(),
        (Test::Gt(x), Test::Gt(y) | Test::Gte(y)) | (Test::Gte(x), Test::Gte(y)) => x.decimal() >= y.decimal(),
        (Test::Gte(x), Test::Gt(y)) => x.decimal() > y.decimal(),
        (Test::Eq(x), Test::In(ys)) => ys.contains(x),
        (Test::In(xs), Test::In(ys)) => within(xs, ys),
        (Test::In(xs), Test::Eq(y)) => xs.iter().all(|x| x == y),
        (Test::Neq(x), Test::NotIn(ys)) => bars_as_much(std::slice::from_ref(x), ys),
        (Test::NotIn(xs), Test::Neq(y)) => bars_as_much(xs, std::slice::from_ref(y)),
        (Test::NotIn(xs), Test::NotIn(ys)) => bars_as_much(xs, ys),
        (Test::LengthLte(x), Test::LengthLte(y)) => x <= y,
        (Test::UnderPath(x), Test::UnderPath(y)) => x == y || y == "/" || x.starts_with(&format!("{y}/")),
        _ => same_test(a, b),
    }
}

fn within(part: &[Literal], whole: &[Literal]) -> bool {
    part.iter().all(|literal| whole.contains(literal))
}

/// `not_in: xs` passes no more than `not_in: ys`: it bars all of them, and speaks of the same types. Which lists a list speaks
/// of depends on its elements, so where one stands on either side only the same ones are known to.
fn bars_as_much(xs: &[Literal], ys: &[Literal]) -> bool {
    let speaks = |literals: &[Literal], of: &Literal| {
        literals.iter().any(|literal| std::mem::discriminant(literal) == std::mem::discriminant(of))
    };
    let typed = |literals: &[Literal], others: &[Literal]| {
        literals.iter().all(|literal| matches!(literal, Literal::Null) || speaks(others, literal))
    };
    if xs.iter().chain(ys).any(|literal| matches!(literal, Literal::List(_))) {
        return within(xs, ys) && within(ys, xs);
    }
    within(ys, xs) && typed(xs, ys) && typed(ys, xs)
}
