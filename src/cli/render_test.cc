// Proves: what people see of each answer, at 80 columns and narrower, as golden files in testdata/;
// no line of a table or a list of facts is wider than the terminal.
#include "cli/render.h"

#include <gtest/gtest.h>

#include "cli/test_support.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
constexpr Style kWide{.width = 80};

v1::ListReply three_containers() {
  v1::ListReply reply;
  *reply.add_containers() = unprotected_db();
  *reply.add_containers() = stopped_job();
  *reply.add_containers() = protected_web();
  return reply;
}

TEST(RenderTest, List) {
  EXPECT_EQ(render_list({}, kWide), "no containers; 'perdure run SPEC' starts one\n");
  const auto reply = three_containers();
  expect_golden("list-80.txt", render_list(reply, kWide));
  expect_golden("list-120.txt", render_list(reply, Style{.width = 120}));
  expect_golden("list-50.txt", render_list(reply, Style{.width = 50}));
  for (const int width : {50, 60, 70, 80, 100, 120})
    EXPECT_LE(widest_line(render_list(reply, Style{.width = width})), width);
}

TEST(RenderTest, InspectShowsTheHealthOfComponents) {
  v1::InspectReply reply;
  *reply.mutable_status() = protected_web();
  const auto add = [&](const char* name, v1::ComponentState state) -> v1::ComponentStatus& {
    v1::ComponentStatus& row = *reply.mutable_status()->add_components();
    row.set_name(name);
    row.set_state(state);
    return row;
  };
  v1::ComponentStatus& db = add("db", v1::COMPONENT_RUNNING);
  db.set_stateful(true);
  db.set_probed(true);
  db.set_passed_age_ns(310'000'000);
  v1::ComponentStatus& web = add("web", v1::COMPONENT_FAILING);
  web.set_probed(true);
  web.set_passed_age_ns(2'100'000'000);
  web.set_failures(2);
  web.set_restarts(3);
  web.set_trouble("does not answer: http://127.0.0.1:80/: no answer within 1000 ms");
  add("unheard", v1::COMPONENT_UNSPECIFIED);
  expect_golden("inspect-components.txt", render_inspect(reply, kWide));
}

TEST(RenderTest, ExplainTellsARecoveryFromItsFirstFailureOn) {
  v1::ExplainReply reply;
  reply.set_name("web");
  EXPECT_EQ(render_explain(reply, kWide), "web: no recovery, as far back as the events here go\n");
  reply.set_node("node1");
  *reply.mutable_status() = protected_web();
  reply.set_if_it_died("node 'node2' goes on with generation 7.1.40");
  v1::Recovery& recovery = *reply.mutable_recovery();
  recovery.set_scope(v1::RECOVERY_SCOPE_CONTAINER);
  recovery.set_outcome(v1::RECOVERY_OUTCOME_RESTORED);
  recovery.set_generation("7.1.41");
  recovery.set_began_unix_ms(1'769'860'800'000);
  recovery.set_took_ns(325'000'000);
  recovery.set_decision("it was killed by signal 11 (SEGV) while on probation: back to generation 7.1.41");
  (*recovery.mutable_durations_ns())["noticed"] = 1'200'000;
  (*recovery.mutable_durations_ns())["restored"] = 44'000'000;
  (*recovery.mutable_durations_ns())["first_packet"] = 46'000'000;
  const auto add = [](v1::Event& event, std::int64_t ms, v1::Severity severity, const char* kind, const char* text,
                      const char* reason = "") {
    event.set_time_unix_ms(1'769'860'800'000 + ms);
    event.set_severity(severity);
    event.set_kind(kind);
    event.set_text(text);
    event.set_reason(reason);
  };
  add(*recovery.add_evidence(), -2'100, v1::SEVERITY_WARNING, "component_failing",
      "component 'web' does not answer: http://127.0.0.1:80/: no answer within 1000 ms");
  add(*recovery.add_steps(), 0, v1::SEVERITY_ERROR, "died", "the container was killed by signal 11 (SEGV)",
      "a capture since the newest committed one was left behind");
  add(*recovery.add_steps(), 1, v1::SEVERITY_INFO, "restoring", "it was killed by signal 11 (SEGV): back to generation 7.1.42");
  add(*recovery.add_steps(), 45, v1::SEVERITY_INFO, "restored", "restored from generation 7.1.42 in 41.0 ms");
  add(*recovery.add_steps(), 280, v1::SEVERITY_ERROR, "died", "the container was killed by signal 11 (SEGV)");
  add(*recovery.add_steps(), 280, v1::SEVERITY_WARNING, "passed_over",
      "generation 7.1.42 is suspect and will not be restored by itself", "it was killed by signal 11 (SEGV) while on probation");
  add(*recovery.add_steps(), 281, v1::SEVERITY_INFO, "restoring",
      "it was killed by signal 11 (SEGV) while on probation: back to generation 7.1.41");
  add(*recovery.add_steps(), 325, v1::SEVERITY_INFO, "restored", "restored from generation 7.1.41 in 42.0 ms");
  expect_golden("explain.txt", render_explain(reply, kWide));
  EXPECT_LE(widest_line(render_explain(reply, kWide)), 80);
  recovery.set_outcome(v1::RECOVERY_OUTCOME_FAILED_OVER);
  expect_golden("explain-50.txt", render_explain(reply, Style{.width = 50}));
}

TEST(RenderTest, Inspect) {
  v1::InspectReply reply;
  *reply.mutable_status() = protected_web();
  *reply.add_recent_events() = restored_event();
  expect_golden("inspect-protected.txt", render_inspect(reply, kWide));
  EXPECT_LE(widest_line(render_inspect(reply, kWide)), 80 + 10) << "digests are not cut";
  *reply.mutable_status() = unprotected_db();
  reply.clear_recent_events();
  expect_golden("inspect-unprotected.txt", render_inspect(reply, kWide));
  *reply.mutable_status() = stopped_job();
  expect_golden("inspect-failed.txt", render_inspect(reply, kWide));
}

TEST(RenderTest, Generations) {
  expect_golden("generations-80.txt", render_generations(web_generations(), kWide));
  EXPECT_LE(widest_line(render_generations(web_generations(), kWide)), 80);
  expect_golden("generations-120.txt", render_generations(web_generations(), Style{.width = 120}));
  v1::GenerationsReply none;
  none.set_name("web");
  EXPECT_EQ(render_generations(none, kWide), "web has no generations\n");
}

TEST(RenderTest, Events) {
  v1::Event node;
  node.set_severity(v1::SEVERITY_INFO);
  node.set_kind("started");
  node.set_text("perdured 0.1.0 on kernel 6.18.0");
  expect_golden("events.txt", render_event(restored_event(), kWide) + render_event(node, kWide));
}

TEST(RenderTest, Doctor) {
  v1::DoctorReport report;
  const auto add = [&](const char* check, v1::CheckState state, const char* found,
                       const char* follows, const char* remedy) {
    auto& line = *report.add_lines();
    line.set_check(check);
    line.set_state(state);
    line.set_found(found);
    line.set_follows(follows);
    line.set_remedy(remedy);
  };
  add("kernel", v1::CHECK_OK, "6.18.0", "", "");
  expect_golden("doctor-ok.txt", render_doctor(report, kWide));
  add("rights", v1::CHECK_LIMITED, "CAP_SYS_RESOURCE is not in the bounding set",
      "containers whose processes have another uid than 0 cannot be protected",
      "give perdured CAP_SYS_RESOURCE");
  expect_golden("doctor-limited.txt", render_doctor(report, kWide));
  add("criu", v1::CHECK_MISSING, "3.17 at /usr/sbin/criu",
      "it does not start on kernels from 6.13 on",
      "install criu 4.2 (Debian: apt-get install -t forky criu)");
  expect_golden("doctor-missing.txt", render_doctor(report, kWide));
}

TEST(RenderTest, Version) {
  v1::VersionReply daemon;
  daemon.set_version("0.1.0");
  daemon.set_build("abc1234");
  daemon.set_node("alpha");
  daemon.set_incarnation("2f");
  daemon.set_pid(812);
  daemon.set_started_unix_ms(1'790'000'000'000);
  daemon.set_kernel("6.18.0");
  daemon.set_criu("4.2.1");
  daemon.set_runtime("runc 1.1.5");
  expect_golden("version.txt",
                render_version("0.1.0", &daemon, kWide) + render_version("0.1.0", nullptr, kWide));
}

TEST(RenderTest, RunAndStart) {
  v1::RunReply run;
  *run.mutable_status() = protected_web();
  run.add_warnings("web.yaml:7:3: the volume 'data' is shared: its changes are not taken back");
  v1::RunReply unprotected;
  *unprotected.mutable_status() = unprotected_db();
  v1::StartReply start;
  *start.mutable_status() = protected_web();
  start.mutable_status()->mutable_protection()->set_state(v1::PROTECTION_STATELESS);
  expect_golden("run.txt", render_run(run, kWide) + "\n" + render_run(unprotected, kWide) + "\n" +
                               render_start(start, kWide));
}

TEST(RenderTest, Changes) {
  v1::CheckpointReply checkpoint;
  checkpoint.set_name("web");
  *checkpoint.mutable_generation() = web_generations().generations(2);
  *checkpoint.mutable_capture() = protected_web().last_capture();
  v1::RestoreReply restore;
  *restore.mutable_status() = protected_web();
  *restore.mutable_restore() = protected_web().last_restore();
  v1::ExportReply exported;
  exported.set_name("web");
  exported.set_generation("1.2f.40");
  exported.set_bytes(27'100'000);
  exported.set_digest("sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
  v1::ImportReply imported;
  *imported.mutable_status() = protected_web();
  imported.mutable_status()->set_name("web2");
  imported.set_generation("1.2f.40");
  imported.set_bytes(27'100'000);
  imported.set_original_name("web");
  v1::StopReply stop;
  *stop.mutable_status() = protected_web();
  stop.mutable_status()->set_phase(v1::PHASE_STOPPED);
  stop.set_killed(true);
  v1::RemoveReply removed;
  removed.set_name("web");
  removed.set_was_running(true);
  removed.set_freed_bytes(58'000'000);
  removed.set_kept_capsules("/var/lib/perdure/capsules/web");
  removed.set_still_claimed(true);
  expect_golden("changes.txt", render_checkpoint(checkpoint, kWide) + "\n" +
                                   render_restore(restore, kWide) + "\n" +
                                   render_export(exported, "web.capsule", kWide) + "\n" +
                                   render_import(imported, kWide) + "\n" +
                                   render_stop(stop, kWide) + "\n" + render_remove(removed, kWide));
}

TEST(RenderTest, WhatIsAboutToHappen) {
  const auto generations = web_generations();
  expect_golden("questions.txt",
                describe_remove(protected_web(), false, kWide) + "\n" +
                    describe_remove(stopped_job(), true, kWide) + "\n" +
                    describe_restore(protected_web(), generations.generations(2), kWide));
}

TEST(RenderTest, Failures) {
  const Failure plain{.code = ExitCode::kNotFound,
                      .message = "there is no container 'wbe'",
                      .remedy = "'perdure list' shows what there is"};
  const Failure findings{
      .code = ExitCode::kInvalid,
      .message =
          "web.yaml:3:5: 'interfal' is no key of checkpoint; did you mean 'interval'?\n"
          "web.yaml:9:3: the address 192.0.2.300 is none\x1b[31m"};
  const Failure detailed{.code = ExitCode::kFailure,
                         .message = "generation 1.2f.40 of web could not be restored",
                         .remedy = "'perdure generations web' shows older ones",
                         .detail = {"Error (criu/files.c:120): Can't open /var/lib/x"}};
  expect_golden("failures.txt", render_failure(plain, kWide) + "\n" +
                                    render_failure(findings, kWide) + "\n" +
                                    render_failure(detailed, kWide));
}

}  // namespace
}  // namespace perdure::cli
