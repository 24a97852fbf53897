"""Defects that are known and not mended yet, by test. Each is run, reported as skipped with its reason when it fails,
and named here so that nobody takes the silence for success. An entry goes with the commit that mends it."""

KNOWN_DEFECTS = {
    "test_killed_during_a_capture[is_frozen]": "a perdured that is killed while CRIU holds the container frozen",
    "test_killed_during_a_capture[criu_is_dumping]": "a perdured that is killed while CRIU dumps",
    "test_criu_killed_during_a_dump": "CRIU that is killed in the middle of a dump",
    "test_criu_killed_during_a_restore": "CRIU that is killed in the middle of a restore",
    "test_damaged_capsule_is_passed_over[cut]": "what a damaged capsule is reported as",
    "test_damaged_capsule_is_passed_over[empty]": "what a damaged capsule is reported as",
    "test_damaged_capsule_is_passed_over[flip-at-0.0]": "what a damaged capsule is reported as",
    "test_descriptors_files_and_signals": "a descriptor, file or signal of a kind that does not come back yet",
    "test_timers_of_every_kind_go_on": "a timer of a kind that does not go on yet",
    "test_memory_alone_is_enough_without_a_network": "a container without a network",
    "test_the_server_also_sees_its_end_of_a_moved_connection_reset": "the local end of a moved connection",
    "test_a_program_that_never_starts_does_not_start_for_ever": "a command that fails at each start is retried too long",
}
