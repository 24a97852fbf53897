#!/usr/bin/env python3
"""Proves that the invariants of policy_model_test bite: each mutation breaks one rule of the policy, and the
random lives must notice. A mutation whose text is no longer found fails too, so that the list stays true.

usage: mutation_test.py BUILD_DIR SOURCE_DIR LIBRARY... --objects OBJECT...
  BUILD_DIR holds compile_commands.json; LIBRARY and OBJECT are what policy_model_test is linked from.
  --mutations FILE is another list, of a program that is not policy_model_test (ownership_mutations.py).
  --only TEXT runs the mutations whose rule contains TEXT.
  --share N runs one in N, others each day: `make test` has no time for all. `ninja policy_mutations` runs them all.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile

# rule, file, text (found exactly once), replacement
MUTATIONS = [
    ("marked generations are passed over", "generations.cc",
     "generation.mark != Mark::kNone ||", ""),
    ("only committed ones are restored", "generations.cc",
     "if (generation->state != CommitState::kCommitted && !(is_base && generation->durable)) {", "if (false) {"),
    ("the base of a kept delta stays", "generations.cc",
     "bases.insert(*generation.parent);", ""),
    ("two are kept", "generations.cc",
     "kFewestKept = 2;", "kFewestKept = 0;"),
    ("the limit of restores", "recovery.cc",
     "question.restores_in_window >= question.max_restores", "false"),
    ("the limit of restores, by one", "recovery.cc",
     "question.restores_in_window >= question.max_restores",
     "question.restores_in_window > question.max_restores"),
    ("a stop takes back an operator's restore", "container_policy.cc",
     "record(); asked_restore_.reset();", "record();"),
    ("what was captured since a bad restore is suspect", "recovery.cc",
     "generation.id == question.probation->restored || since",
     "generation.id == question.probation->restored"),
    ("a death on probation says something", "policy_recovery.cc",
     "question_.probation = std::exchange(probation_, std::nullopt);", "probation_.reset();"),
    ("what is on probation is kept", "policy_captures.cc",
     "probation_ ? std::optional(probation_->restored) : std::nullopt", "std::nullopt"),
    ("one operation at a time: captures", "checkpoint_schedule.cc",
     "if (!enabled_ || in_flight_) return std::nullopt;", "if (!enabled_) return std::nullopt;"),
    ("one operation at a time: recovery waits for the capture", "policy_recovery.cc",
     "  if (operation_ != Operation::kNone) return;\n  if (held_back()) return;",
     "  if (operation_ != Operation::kNone) operation_ = Operation::kNone;\n  if (held_back()) return;"),
    ("no capture during the exit grace", "policy_captures.cc",
     "timer(TimerId::kExitGrace) || uncommitted", "uncommitted"),
    ("generation numbers rise", "policy_captures.cc",
     "next_number_++", "next_number_"),
    ("generation numbers rise over a restart of the daemon", "policy_recovery.cc",
     "next_number_ = std::max(next_number_, generation.id.number + 1);", ""),
    ("the uncommitted of a life that ended is left behind", "policy_recovery.cc",
     '  leave_uncommitted("not committed when the container ended");\n', ""),
    ("so is what ends uncommitted after the death", "policy_captures.cc",
     'discard(generation, Mark::kAbandoned, "not committed when the container ended");', ""),
    ("deltas on what was not committed are left behind", "policy_captures.cc",
     "chain_of(generations_, generation.id) == Chain::kLost", "false"),
    ("a cold start leaves all behind", "container_policy.cc",
     'abandon_after(std::nullopt, "the container was started afresh");', ""),
    ("an operator's way back is not undone", "policy_recovery.cc",
     "abandon_after(restored,", "(void)("),
    ("an asked-for generation is looked at again", "policy_recovery.cc",
     "asked_restore_ && !restorable(generations_, *asked_restore_)", "false"),
    ("the gate opens after the exit grace", "container_policy.cc",
     "      open_gate();\n      emit(Severity::kWarning, \"process_killed\"", "      emit(Severity::kWarning, \"process_killed\""),
    ("nothing opens the gate of an init on its end", "container_policy.cc", "event.is_init && serving()", "false"),
    ("nor does a component that is started again", "container_policy.cc", " || killed_process_.is_init) return;", ") return;"),
    ("the gate opens after a restore", "policy_recovery.cc",
     "  open_gate();\n  if (options_.probation", "  if (options_.probation"),
    ("the gate is held when the container has died", "policy_recovery.cc",
     "  restored_.reset();\n  hold_gate();", "  restored_.reset();"),
    ("the gate is held for an operator's restore", "policy_recovery.cc",
     "  record();\n  hold_gate();\n  forget_failures();", "  record();\n  forget_failures();"),
    ("the desired state is recorded before a stop", "container_policy.cc",
     "  persistent_.gave_up.clear();\n  record();", "  persistent_.gave_up.clear();"),
    ("two things that hang", "container_policy.cc",
     "if (!resume_) resume_ =", "resume_ ="),
    ("a cancelled capture is watched", "policy_captures.cc",
     "arm(TimerId::kCaptureEnd,", "(void)("),
    ("a stop that is not obeyed is watched", "container_policy.cc",
     "arm(TimerId::kStop, now_ + stop_deadline_.value_or(options_.stop_deadline));", ""),
    ("failures in a row end protection", "policy_captures.cc",
     "row >= options_.failures_until_unprotected", "false"),
    ("age ends protection", "policy_captures.cc",
     "arm(TimerId::kAge, too_old_at_);", ""),
    ("protected only with a committed generation", "container_policy.cc",
     'set_phase(Phase::kTrial, "its first checkpoint is not committed yet");',
     'become_protected({}, "started");'),
    ("captures go on after a restore", "policy_recovery.cc",
     "  schedule_.enable(now_);\n  emit(", "  emit("),
    ("nothing is begun beside a living container", "policy_recovery.cc",
     "  if (alive_ && operation_ != Operation::kRestoring) {\n    if (!killing_ && !held_back()) kill();\n    return;\n  }",
     "  alive_ = false;"),
    ("what is superseded has no deadline", "policy_captures.cc",
     "if (older.id < id && awaits_commit(older)) older.state = CommitState::kCommitted;", ""),
    ("the newest durable one stays", "generations.cc",
     "stays_for_recovery(generation) || for_directory", "stays_for_recovery(generation)"),
    ("generations carry the owner's term", "policy_ownership.cc",
     "term_ = std::max(term_, raised);", "(void)raised;"),
    ("a term that is taken back counts", "policy_move.cc", "raise_term(event.term);", ""),
    ("a move waits for the capture in flight", "policy_move.cc",
     "operation_ != Operation::kNone || timer(TimerId::kExitGrace) ||", "timer(TimerId::kExitGrace) ||"),
    ("a move waits for the exit grace", "policy_move.cc",
     "operation_ != Operation::kNone || timer(TimerId::kExitGrace) ||", "operation_ != Operation::kNone ||"),
    ("failovers stay within their limit", "recovery.cc",
     "question.failovers_in_window < question.max_failovers && newest_good", "newest_good"),
    ("a failover is recorded first", "policy_move.cc",
     "persistent_.handing_over = HandingOver{target, generation};", ""),
    ("what came by a failover is blamed for a death", "policy_ownership.cc",
     "event.failed_over ? Probation::After::kRestore : Probation::After::kMove", "Probation::After::kMove"),
    ("a move is recorded before its capture", "policy_move.cc",
     "  record();\n  begin_capture();", "  begin_capture();"),
    ("the end of a move is watched", "policy_move.cc",
     "effects_.push_back(HandOver{operation_generation_, move_->target});\n"
     "  arm(TimerId::kMove, now_ + options_.move_warning);",
     "effects_.push_back(HandOver{operation_generation_, move_->target});"),
    ("no timer ends a move", "container_policy.cc", "warn_of_move();", 'fail_move("late");'),
    ("only a hand-over can be handed over", "policy_move.cc",
     "  if (phase_ != Phase::kMoving || move_->stage != Move::Stage::kHandsOver) return;\n  const Generation handed",
     "  if (phase_ != Phase::kMoving || !persistent_.handing_over) return;\n  const Generation handed"),
    ("what was not handed over is not resumed", "policy_move.cc",
     "  if (phase_ != Phase::kMoving || move_->stage != Move::Stage::kHandsOver) return;\n  know_ownership();\n"
     "  const bool resumes",
     "  if (phase_ != Phase::kMoving || !persistent_.handing_over) return;\n  know_ownership();\n"
     "  const bool resumes"),
    ("a restarted daemon waits for the end of a move", "policy_recovery.cc",
     "  if (moving) {\n    await_move(*persistent_.handing_over);", "  if (false) {"),
    ("what is handed over is not discarded", "policy_captures.cc",
     "if (persistent_.handing_over && persistent_.handing_over->generation == id) return;", ""),
    ("... nor when the frozen copy dies", "policy_recovery.cc",
     "if (phase_ == Phase::kMoving && move_->stage == Move::Stage::kHandsOver) {", "if (false) {"),
    ("a process that was killed during the capture for a move", "policy_move.cc",
     "if (gate_ == GateState::kHeld) arm(TimerId::kExitGrace, now_ + options_.exit_grace);", ""),
    ("the capture after a move that failed", "policy_move.cc",
     "resume_watch();\n    schedule_.enable(now_, now_);", "schedule_.enable(now_, now_);"),
    ("the target forgets the source's move", "policy_ownership.cc",
     "persistent_ = {.desired = DesiredState::kRunning,", "persistent_ = event.state; (void)PersistentState{"
     ".desired = DesiredState::kRunning,"),
    ("the target captures at once", "policy_ownership.cc", "schedule_.enable(now_, now_);", "schedule_.enable(now_);"),
    ("a death after a move blames nothing", "recovery.cc",
     "if (question.probation->after == Probation::After::kMove) return;", ""),
    ("the gate closes when another node owns it", "policy_ownership.cc",
     "know_ownership();\n  hold_gate();", "know_ownership();"),
    ("what another node owns is killed", "policy_ownership.cc", "if (!waits && !killing_) kill();", ""),
    ("another owner's generations are not marked: a death", "policy_recovery.cc",
     "  if (leaving()) return;\n", ""),
    ("another owner's generations are not marked: a capture", "policy_captures.cc",
     "if (leaving()) return;  // nobody will go back to it", ""),
    ("nothing is begun again that another node owns", "container_policy.cc",
     "if (phase_ != Phase::kPreparing && phase_ != Phase::kStarting) return;  // it", "if (phase_ == Phase::kStopping) return;  // it"),
    ("unknown ownership: nothing is started", "container_policy.cc",
     "if (operation_ == Operation::kNone && !held_back()) begin_start();",
     "if (operation_ == Operation::kNone) begin_start();"),
    ("unknown ownership: what was started stays silent", "container_policy.cc",
     "if (operation_ == Operation::kNone && !held_back()) finish_start();",
     "if (operation_ == Operation::kNone) finish_start();"),
    ("unknown ownership: nothing is restored", "policy_recovery.cc",
     "  if (held_back()) return;\n", ""),
    ("unknown ownership: what was restored stays silent", "policy_recovery.cc",
     "if (!held_back()) finish_restore();", "finish_restore();"),
    ("unknown ownership: nothing is killed", "policy_recovery.cc",
     "if (!killing_ && !held_back()) kill();", "if (!killing_) kill();"),
    ("unknown ownership: no stop begins", "container_policy.cc",
     "if (terminating_ || killing_ || ownership_unknown_) return;", "if (terminating_ || killing_) return;"),
    ("unknown ownership: nothing is released", "container_policy.cc",
     "if (persistent_.desired == DesiredState::kRemoved && ownership_unknown_) return;", ""),
    ("unknown ownership: only its own is deleted", "policy_captures.cc",
     "if (ownership_unknown_ && !own) continue;", ""),
    ("unknown ownership: nothing moves", "policy_move.cc",
     "  if (ownership_unknown_) {\n    fail_move(", "  if (false) {\n    fail_move("),
    ("unknown ownership: nothing is handed over", "policy_move.cc",
     "  if (ownership_unknown_) {\n    gate_ =", "  if (false) {\n    gate_ ="),
    ("a gate found is left as it is", "container_policy.cc", "if (gate_untouched_) return;", ""),
    ("a gate found opens when ownership is known", "policy_ownership.cc",
     "if (serving() && !timer(TimerId::kExitGrace)) open_gate();", ""),
    ("an operator's word is waited for", "policy_recovery.cc", "if (awaits_word_) {", "if (false) {"),
    ("a word is for one generation", "policy_recovery.cc",
     "asked_restore_ = event.generation;", "asked_restore_ = event.generation; awaits_word_ = false;"),
    ("giving up says why", "policy_recovery.cc",
     "give_up(decision.reason, decision.remedy);", 'give_up("", decision.remedy);'),
]


def mutate(source_dir, file, old, new):
    with open(os.path.join(source_dir, file), encoding="utf-8") as stream:
        text = stream.read()
    # Line breaks and indentation are clang-format's business, not the rule's.
    pattern = r"\s+".join(re.escape(word) for word in old.split())
    found = list(re.finditer(pattern, text))
    if len(found) != 1:
        raise LookupError(f"the text occurs {len(found)} times in {file}: {old}")
    return text[: found[0].start()] + new + text[found[0].end():]


def compile_command(build_dir, source, mutated, output):
    with open(os.path.join(build_dir, "compile_commands.json"), encoding="utf-8") as stream:
        entry = next(e for e in json.load(stream) if os.path.realpath(e["file"]) == os.path.realpath(source))
    words = shlex.split(entry["command"])
    words = words[next(i for i, w in enumerate(words) if re.search(r"\+\+(-\d+)?$", w)):]  # without ccache
    words[words.index("-o") + 1] = output
    words[words.index(entry["file"])] = mutated
    # Optimization and debug information stay as they are, or the precompiled header would not fit.
    return words + ["-w"], entry["directory"]


def run_mutation(arguments, mutation):
    rule, file, old, new = mutation
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        mutated = os.path.join(directory, file)
        with open(mutated, "w", encoding="utf-8") as stream:
            stream.write(mutate(arguments.source_dir, file, old, new))
        command, where = compile_command(arguments.build_dir, os.path.join(arguments.source_dir, file),
                                         mutated, mutated + ".o")
        subprocess.run(command, cwd=where, check=True, capture_output=True, text=True)
        program = os.path.join(directory, "mutant")
        subprocess.run([command[0], "-o", program, mutated + ".o", *arguments.objects, *arguments.libraries,
                        *[f for f in command if f.startswith("-fsanitize")],
                        "-lyaml-cpp", "-lpugixml", "-lgtest_main", "-lgtest", "-lgmock", "-lpthread"],
                       check=True, capture_output=True, text=True)
        result = subprocess.run([program, "--gtest_filter=*NoOrder*"], timeout=arguments.timeout,
                                capture_output=True, text=True, check=False,
                                env=os.environ | {"PERDURE_MODEL_SEEDS": "20000"})
    noticed = re.search(r"seed (\d+) breaks: (.*)|assertion failed: (.*)", result.stdout + result.stderr)
    return result.returncode != 0 and noticed is not None, noticed.group(0) if noticed else result.stdout[-300:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build_dir")
    parser.add_argument("source_dir")
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("--objects", nargs="+", required=True)
    parser.add_argument("--mutations", help="a Python file with a list of that name")
    parser.add_argument("--only", default="")
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=300)
    arguments = parser.parse_args()
    mutations = runpy.run_path(arguments.mutations)["MUTATIONS"] if arguments.mutations else MUTATIONS
    today = datetime.date.today().toordinal()
    chosen = [m for number, m in enumerate(mutations)
              if arguments.only in m[0] and (number + today) % arguments.share == 0]
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [(m, pool.submit(run_mutation, arguments, m)) for m in chosen]
        for mutation, run in runs:
            try:
                noticed, how = run.result()
            except subprocess.CalledProcessError as error:
                noticed, how = False, "does not build: " + error.stderr[-600:]
            except (LookupError, subprocess.TimeoutExpired) as error:
                noticed, how = False, str(error)
            failures += not noticed
            print(f"{'noticed' if noticed else 'MISSED '}  {mutation[0]}: {how}", flush=True)
    print(f"{len(chosen) - failures} of {len(chosen)} mutations were noticed; the list has {len(mutations)}")
    return 1 if failures or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
