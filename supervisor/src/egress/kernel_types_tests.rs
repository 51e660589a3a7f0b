use super::*;

const STRINGS: &[u8] = b"\0hook\0hooked\0msghdr\0msg_name\0msg_namelen\0";
const HOOK: Wanted = Wanted::Function("hook");
const NAME: Wanted = Wanted::Member("msghdr", "msg_name");
const LENGTH: Wanted = Wanted::Member("msghdr", "msg_namelen");

fn name(text: &str) -> u32 {
    let text = format!("\0{text}\0");
    let at = STRINGS.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    u32::try_from(at).unwrap() + 1
}

fn one(name: u32, kind: u32, members: u32, behind: &[u32]) -> Vec<u8> {
    [&[name, kind << 24 | members, 0], behind].concat().into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn msghdr(second: u32) -> Vec<u8> {
    one(name("msghdr"), STRUCT, 2, &[name("msg_name"), 1, 0, name("msg_namelen"), 1, second])
}

fn file(types: &[Vec<u8>]) -> Vec<u8> {
    let types = types.concat();
    let sizes = [types.len(), STRINGS.len()].map(|size| u32::try_from(size).unwrap());
    let head = [24, 0, sizes[0], sizes[0], sizes[1]].map(u32::to_ne_bytes).concat();
    [&[0x9f, 0xeb, 1, 0][..], &head, &types, STRINGS].concat()
}

#[test]
fn a_type_has_the_number_of_its_place_whatever_stands_before_it() {
    let kinds = [
        one(0, 1, 0, &[32]),
        one(0, 3, 0, &[1, 1, 4]),
        msghdr(64),
        one(0, 5, 1, &[0; 3]),
        one(0, 6, 3, &[0; 6]),
        one(0, 13, 2, &[0; 4]),
        one(0, 14, 0, &[1]),
        one(0, 15, 2, &[0; 6]),
        one(0, 17, 0, &[0]),
        one(0, 19, 1, &[0; 3]),
        one(name("hooked"), FUNCTION, 1, &[]),
        one(name("hook"), TYPEDEF, 0, &[]),
        one(name("hook"), FUNCTION, 1, &[]),
    ];
    let wanted = [HOOK, Wanted::Function("hooked"), Wanted::Typedef("hook"), NAME, LENGTH];
    assert_eq!(find(&file(&kinds), wanted).unwrap(), [13, 11, 12, 0, 8]);
}

#[test]
fn what_is_missing_or_there_twice_or_no_whole_byte_has_no_number() {
    let hook = one(name("hook"), FUNCTION, 1, &[]);
    let found = |types: &[Vec<u8>]| find(&file(types), [HOOK, LENGTH]).unwrap();
    assert_eq!(found(&[msghdr(64)]), [NONE, 8]);
    assert_eq!(found(&[hook.clone(), hook.clone(), msghdr(128)]), [UNCLEAR, 16]);
    assert_eq!(found(&[msghdr(64), msghdr(64), hook]), [3, UNCLEAR], "two of them");
    assert_eq!(found(&[msghdr(65)])[1], UNCLEAR, "a bit field");
    let without = one(name("msghdr"), STRUCT, 1, &[name("msg_name"), 1, 0]);
    assert_eq!(found(&[without]), [NONE, UNCLEAR], "no such member");
    let wide = |place| one(name("msghdr"), STRUCT | 0x80, 1, &[name("msg_namelen"), 1, place]);
    assert_eq!((found(&[wide(64)])[1], found(&[wide(3 << 24 | 64)])[1]), (8, UNCLEAR), "a width above the place");
}

#[test]
fn a_kernel_that_lacks_something_is_no_kernel_for_the_programs_that_need_it() {
    let whole = KernelTypes([7, 9, 0, 8, 4, 11, 96, 104, 1400, 1380, 13, 64, 32, 40, 48, 16, 17, 20, 64, 2]);
    assert_eq!(whole.hooks().unwrap(), [7, 9]);
    assert_eq!(whole.exec().unwrap(), ExecTypes { tracepoint: 11, binprm: [96, 104], task: [1400, 1380] });
    let list = ListTypes { hook: 13, file: 64, inode: 32, number: 40, superblock: 48, device: 16 };
    assert_eq!(whole.list().unwrap(), list);
    assert_eq!(whole.files().unwrap(), FileTypes { hook: 17, mode: 20, path: 64, inode: 32, kind: 2 });
    for index in 0..WANTED.len() {
        for number in [NONE, UNCLEAR] {
            let mut types = whole;
            types.0[index] = number;
            let lacking =
                [types.hooks().is_err(), types.exec().is_err(), types.list().is_err(), types.files().is_err()];
            let of_list = (10..16).contains(&index);
            assert_eq!(lacking, [index < 5, (5..10).contains(&index), of_list, index >= 16 || index == 12], "{index}");
        }
    }
    for (index, number) in [(2, 8), (3, 16), (4, 8)] {
        let mut types = whole;
        types.0[index] = number;
        assert!(matches!(types.hooks(), Err(TypesError::Layout(_))), "{index}: another place");
    }
    let mut far = whole;
    far.0[9] = STRUCTURE_BYTES_MAX;
    assert!(matches!(far.exec(), Err(TypesError::Layout("task_struct"))));
}

#[test]
fn bytes_that_do_not_add_up_are_an_error() {
    let whole = file(&[msghdr(64), one(name("hook"), FUNCTION, 1, &[])]);
    for length in 0..whole.len() {
        assert!(find(&whole[..length], [HOOK, LENGTH]).is_err(), "{length} bytes");
    }
    for (at, byte) in [(0, 0), (2, 2), (11, 0xff), (19, 0xff)] {
        let mut bad = whole.clone();
        bad[at] = byte;
        assert!(find(&bad, [HOOK, LENGTH]).is_err(), "byte {at}");
    }
    let unknown = file(&[one(0, 20, 0, &[])]);
    assert!(matches!(find(&unknown, [HOOK]), Err(TypesError::Format(_))));
    let long = file(&[one(name("msghdr"), STRUCT, 9, &[])]);
    assert!(matches!(find(&long, [LENGTH]), Err(TypesError::Format(_))));
}

#[test]
fn this_kernel_is_understood() {
    // The exec audit needs nothing that a kernel with BTF has not, nor does the list of programs but for its hook; the layouts are
    // those that the LSM programs read by.
    match KernelTypes::read() {
        Ok(types) => {
            types.exec().unwrap();
            assert!(matches!(types.list(), Ok(_) | Err(TypesError::Absent(_))), "{:?}", types.list());
            assert_eq!(types.0[2..5], COMPILED);
        }
        Err(error) => assert!(matches!(error, TypesError::Read(_)), "{error}"),
    }
}
