//! The layers that a test build can switch off, and what stands behind each.

/// A layer, and how it is switched off.
pub(crate) struct Layer {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// Its protections, by their names in `weaken::in_force`.
    pub(crate) drop: &'static str,
    /// What has to be dropped with it for a run to start at all; rows that open without these alone are not the layer's.
    pub(crate) beside: &'static str,
    /// What holds the same attacks, for people, and as protections to drop: the rows that open without both are the layer's, too.
    pub(crate) behind: Option<(&'static str, &'static str)>,
    /// Only this group of rows is tried.
    pub(crate) group: Option<&'static str>,
    /// Where the red team sees nothing of it: who else does, or what holds that cannot be switched off.
    pub(crate) why: &'static str,
}

const fn layer(name: &'static str, drop: &'static str) -> Layer {
    Layer { name, drop, beside: "", behind: None, group: None, why: "" }
}

impl Layer {
    const fn beside(mut self, names: &'static str) -> Self {
        self.beside = names;
        self
    }

    const fn behind(mut self, what: &'static str, names: &'static str) -> Self {
        self.behind = Some((what, names));
        self
    }

    const fn only(mut self, group: &'static str) -> Self {
        self.group = Some(group);
        self
    }

    const fn why(mut self, text: &'static str) -> Self {
        self.why = text;
        self
    }
}

/// The kernel's word on core layers: without it a run that lacks one starts.
const CORE: &str = "core-layers";
/// The same, and our own look for a road out.
const CORE_AND_TEST: &str = "core-layers,self-test";

/// Every layer, as a launch puts them on.
pub(crate) const LAYERS: &[Layer] = &[
    layer("network namespace", "netns")
        .beside(CORE_AND_TEST)
        .behind("the hooks", "cgroup-connect,cgroup-sendmsg,cgroup-bind,cgroup-sock-create")
        .only("network")
        .why("of the network group alone: two sessions cannot share a network; what is dialled to a listener of ours stays with us"),
    layer("hooks on the cgroup", "cgroup-connect,cgroup-sendmsg,cgroup-bind,cgroup-sock-create")
        .behind("the network namespace", "netns,core-layers,self-test")
        .only("network")
        .why("inside the network namespace no other address is reached"),
    layer("redirection to the gateway", "sk-lookup")
        .why("an extra: without it the gateway listens on the policy's ports alone, and the network namespace has nothing else to reach"),
    layer("exec audit", "exec-trace")
        .why("a look, not a wall: `exec_audit::a_program_that_the_kernel_does_not_call_is_no_layer`"),
    layer("file audit", "fs-trace").why("a look, not a wall: `fs_audit::without_the_layer_the_run_goes_on_unless_it_is_required`"),
    layer("DNS stub", "dns-stub").beside("self-test").why(
        "dropped, it answers every name; no question leaves the network namespace, and no connection: `wall_root` \
         has both, `egress::resolver::tests::every_other_name_does_not_exist` the answer",
    ),
    layer("gateway: TLS name", "gateway-sni"),
    layer("gateway: encrypted hello", "gateway-ech"),
    layer("gateway: second hello", "gateway-retry"),
    layer("gateway: address and port", "gateway-address").why(
        "the connect hook refuses the port first; behind it, `egress::serve::tests::another_port_of_an_allowed_host_is_reset`",
    ),
    layer("gateway: record first", "egress-record-first").why(
        "nothing opens, a record is late: `egress::serve::tests::nothing_is_dialled_while_the_relay_does_not_confirm`",
    ),
    layer("gateway: no private address", "dial-private,dial-own").why(
        "the allowed name of the red team is public and another's: `egress::dial::tests::a_name_that_resolves_to_loopback_is_not_dialled`, \
         `main_job::an_allowed_name_that_comes_to_stand_for_this_host_is_not_dialled`",
    ),
    layer("gateway: bounded buffers", "gateway-buffers,upstream-buffers").why(
        "what the kernel holds of connections, in nobody's account: \
         `egress::sockets::tests::what_nobody_reads_the_kernel_holds_up_to_a_bound`",
    ),
    layer("dialer: list and pace", "dialer-list,dialer-pace").why(
        "the server cannot speak to the dialer; what an egress that was taken over may have of it: \
         `planted::a_dialer_without_its_rules_gives_more`",
    ),
    layer("uid of the run", "identity").why("other processes and files are held by the pid namespace and the view of files"),
    layer("user namespace", "user-namespace").beside("capabilities,core-layers").behind("seccomp", "seccomp").why(
        "the run's uid is nobody's outside of a user namespace, too, and the change to it leaves no capability",
    ),
    layer("groups of the caller", "setgroups").beside(CORE).behind("the owner map of what is only read", "read-idmap"),
    layer("capabilities", "capabilities").beside(CORE).behind("seccomp", "seccomp"),
    layer("no_new_privs", "no-new-privs")
        .beside(CORE)
        .behind("Landlock and seccomp, which cannot be had without it", "landlock,seccomp"),
    layer("seccomp, whole", "seccomp").beside(CORE),
    layer("seccomp: fast open, filters, upper layers", "seccomp-fastopen"),
    layer("seccomp: namespaces", "seccomp-namespaces"),
    layer("seccomp: set-id modes", "seccomp-setid-modes"),
    layer("seccomp: socket families", "seccomp-socket-families"),
    layer("seccomp: requests of ioctl and fcntl", "seccomp-requests"),
    layer("Landlock", "landlock").behind("seccomp", "seccomp,core-layers"),
    layer("read-only root", "read-only-root").behind("Landlock", "landlock").why(
        "the root belongs to a uid that is not mapped, so the run's uid may write nothing of it: \
         `layers::the_servers_root_is_read_only_and_its_writable_folder_grants_no_setuid`",
    ),
    layer("owner map of what is only read", "read-idmap").behind("Landlock", "landlock"),
    layer("mounts that are left out, and their cover", "cover-left-out,waiting-mounts").why(
        "the red team shows no folder with such a mount: \
         `files::shown::a_mount_that_root_cannot_look_at_is_left_out_and_what_it_lay_over_is_not_seen`, \
         `files::shown::a_mount_that_never_answers_holds_up_neither_start_nor_server`",
    ),
    layer("no set-id in writable folders", "nosuid-writable").behind("seccomp: set-id modes", "seccomp-setid-modes").why(
        "nobody but the server executes there under our eyes, and no_new_privs takes the bit's effect: \
         `layers::the_servers_root_is_read_only_and_its_writable_folder_grants_no_setuid`",
    ),
    layer("masks of /proc", "proc-masks"),
    layer("inherited descriptors", "close-range"),
    layer("constructed environment", "environment"),
    layer("cgroup ceilings", "cgroup-limits"),
    layer("ceilings of the user namespace", "inotify-limits"),
    layer("membership of the cgroup", "cgroup-membership").why(
        "a look, not a wall: `sandbox::cgroup::tests::a_process_that_stands_outside_is_found`",
    ),
    layer("list of programs", "exec-list,exec-memory-files,exec-writable-mounts,exec-shown-twice").why(
        "the red team's policy has no `process.exec`: `cage_root::a_program_that_is_not_listed_is_not_executed`, \
         `cage_root::a_memory_file_is_not_executed`, `cage_root::what_the_server_wrote_is_not_code`",
    ),
    layer("list of programs, LSM program", "lsm-exec").why(
        "a second lock, where the kernel calls it: `exec_audit::lists::what_is_not_listed_is_refused_by_the_lsm_alone_and_recorded`, \
         `exec_audit::lists::without_the_lsm_program_too_nothing_refuses`",
    ),
    layer("size of a writable folder", "write-max,write-quota").why(
        "the red team's policy has no `max`, but for `huge-sparse-file`, which RLIMIT_FSIZE stops: `files::write_max::a_folder_over_its_max_ends_the_session`, \
         `files::write_quota::a_project_quota_holds_a_hostile_writer_and_without_one_nothing_starts`",
    ),
    layer("lifeline", "lifeline").behind("the parent-death signal", "pdeathsig").why(
        "the janitor's cgroup.kill is the third cord: `cage_root::the_lifeline_alone_is_enough`, \
         `cage_root::the_parent_death_signal_alone_is_enough`",
    ),
    layer("parent-death signal", "pdeathsig").behind("the lifeline", "lifeline").why("as for the lifeline"),
    layer("the kernel's word on core layers", "core-layers").why("a look, not a wall: `sandbox::launch::tests::a_missing_core_layer_refuses`"),
    layer("self-test of the network", "self-test")
        .why("a look, not a wall: `cage_root::an_open_network_is_found_before_the_gate`"),
    layer("eyes of a caller behind sudo", "server-sight").why(
        "about who calls, not about the server: `policy_trust::behind_sudo_nothing_is_told_that_the_server_could_not_see`",
    ),
];
