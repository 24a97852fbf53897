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
     "if (generation->state != CommitState::kCommitted) {", "if (false) {"),
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
     "  if (operation_ != Operation::kNone) return;\n  if (asked_restore_ &&",
     "  if (operation_ != Operation::kNone) operation_ = Operation::kNone;\n  if (asked_restore_ &&"),
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
     "abandon_after(event.generation,", "(void)("),
    ("an asked-for generation is looked at again", "policy_recovery.cc",
     "asked_restore_ && !restorable(generations_, *asked_restore_)", "false"),
    ("the gate opens after the exit grace", "container_policy.cc",
     "case TimerId::kExitGrace: {\n      open_gate();", "case TimerId::kExitGrace: {"),
    ("the gate opens after a restore", "policy_recovery.cc",
     "  open_gate();\n  if (options_.probation", "  if (options_.probation"),
    ("the gate is held when the container has died", "policy_recovery.cc",
     "  pid_ = -1;\n  hold_gate();", "  pid_ = -1;"),
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
     "  if (alive_ && operation_ != Operation::kRestoring) {\n    if (!killing_) kill();\n    return;\n  }",
     "  alive_ = false;"),
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
                        "-lgtest_main", "-lgtest", "-lgmock", "-lpthread"],
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
