#include "cli/test_support.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace perdure::cli {

namespace v1 = control::v1;

class FakeConnection final : public Connection {
 public:
  explicit FakeConnection(FakeDaemon& daemon) : daemon_(daemon) {}

  Status send(const v1::Request& request, int fd, Duration) override {
    daemon_.requests.push_back(request);
    for (v1::Response& response : daemon_.behaviour_(request, fd)) {
      if (response.id() == 0)
        response.set_id(request.has_answer() ? request.answer().request_id() : request.id());
      frames_.push_back(std::move(response));
    }
    return {};
  }

  Result<v1::Response> receive(Duration timeout) override {
    if (frames_.empty()) {
      if (daemon_.end_of_frames.code() == ErrorCode::kTimeout) daemon_.clock_.advance(timeout);
      return fail(daemon_.end_of_frames);
    }
    if (waited_ + timeout < daemon_.per_frame) {
      waited_ += timeout;
      daemon_.clock_.advance(timeout);
      return fail(ErrorCode::kTimeout, "");
    }
    daemon_.clock_.advance(daemon_.per_frame - waited_);
    waited_ = {};
    v1::Response response = std::move(frames_.front());
    frames_.pop_front();
    return response;
  }

 private:
  FakeDaemon& daemon_;
  std::deque<v1::Response> frames_;
  Duration waited_{};
};

Result<std::unique_ptr<Connection>> FakeDaemon::connect(Duration) {
  if (connect_error) return fail(*connect_error);
  return std::make_unique<FakeConnection>(*this);
}

// The FakeDaemon outlives the run; the program owns only this.
class ForwardingConnector final : public Connector {
 public:
  explicit ForwardingConnector(FakeDaemon& daemon) : daemon_(daemon) {}
  Result<std::unique_ptr<Connection>> connect(Duration timeout) override {
    return daemon_.connect(timeout);
  }
  std::string where() const override { return daemon_.where(); }

 private:
  FakeDaemon& daemon_;
};

ExitCode ProgramRun::run(const std::vector<std::string>& arguments) {
  const HostServices services{
      .check_host = [this] { return host; },
      .become_lab =
          [this](const std::vector<std::string>& passed_on) {
            lab_arguments = passed_on;
            return Failure{.message = "no lab here"};
          },
      .build_image = [this](const image::Recipe& recipe, const image::BuildOptions&) -> Result<image::BuiltImage> {
        built.push_back(recipe);
        return image::BuiltImage{.layout_dir = "/var/cache/perdure/layouts/1/oci"};
      },
      .compose = compose};
  return run_program(
      arguments, terminal, clock,
      [this](std::string path) {
        socket = std::move(path);
        return std::make_unique<ForwardingConnector>(daemon);
      },
      services);
}

v1::Response error_response(v1::ErrorCode code, std::string message, std::string remedy) {
  v1::Response response;
  response.mutable_error()->set_code(code);
  response.mutable_error()->set_message(std::move(message));
  response.mutable_error()->set_remedy(std::move(remedy));
  return response;
}

v1::Response progress_response(std::string stage, std::string text) {
  v1::Response response;
  response.mutable_progress()->set_stage(std::move(stage));
  response.mutable_progress()->set_text(std::move(text));
  return response;
}

namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kNoon = 1'790'000'000'000;  // 2026-09-21T13:33:20Z

void fill_capture(v1::Capture& capture) {
  capture.set_frozen_ns(18'200'000);
  capture.set_wall_ns(24'100'000);
  capture.set_cpu_ns(12'000'000);
  capture.set_full_bytes(27'100'000);
  capture.set_kept_bytes(1'240'000);
  capture.set_dirty_pages(312);
  capture.set_total_pages(6900);
  capture.set_time_unix_ms(kNoon - 400);
}

void fill_restore(v1::RestoreRecord& restore) {
  restore.set_time_unix_ms(kNoon - 3'600'000);
  restore.set_reason("init was killed by signal 9 (Killed)");
  restore.set_generation("1.2f.40");
  restore.set_noticed_ns(1'200'000);
  restore.set_restored_ns(44 * kMs);
  restore.set_first_packet_ns(51 * kMs);
  restore.set_lost_ns(310 * kMs);
}

void add_generation(v1::GenerationsReply& reply, std::string generation, std::string parent,
                    std::int64_t age_ms) {
  v1::GenerationRow& row = *reply.add_generations();
  row.set_generation(std::move(generation));
  row.set_parent(std::move(parent));
  row.set_kind(row.parent().empty() ? v1::GENERATION_KIND_FULL : v1::GENERATION_KIND_DELTA);
  row.set_committed(true);
  row.set_in_memory(true);
  row.set_age_ns(age_ms * kMs);
  row.set_created_unix_ms(kNoon - age_ms);
  row.set_full_bytes(27'100'000);
  row.set_kept_bytes(row.parent().empty() ? 27'100'000 : 1'240'000);
  row.set_frozen_ns(18'200'000);
}

}  // namespace

v1::ContainerStatus protected_web() {
  v1::ContainerStatus web;
  web.set_name("web");
  web.set_phase(v1::PHASE_RUNNING);
  web.set_phase_since_unix_ms(kNoon - 3'600'000);
  web.set_init_pid(4242);
  web.mutable_protection()->set_state(v1::PROTECTION_PROTECTED);
  web.mutable_protection()->set_since_unix_ms(kNoon - 3'599'000);
  web.mutable_interval()->set_asked_ns(500 * kMs);
  web.mutable_interval()->set_in_force_ns(800 * kMs);
  web.mutable_interval()->set_why(
      "every 800 ms instead of 500 ms: a capture costs 160 ms CPU, budget 20 %");
  web.mutable_newest_committed()->set_generation("1.2f.42");
  web.mutable_newest_committed()->set_age_ns(420 * kMs);
  web.mutable_newest_committed()->set_created_unix_ms(kNoon - 420);
  web.mutable_newest_durable()->set_generation("1.2f.40");
  web.mutable_newest_durable()->set_age_ns(2'100 * kMs);
  web.mutable_newest_durable()->set_created_unix_ms(kNoon - 2'100);
  fill_capture(*web.mutable_last_capture());
  web.set_captures(5120);
  web.set_capture_failures(2);
  web.set_failures(3);
  web.set_restores(3);
  fill_restore(*web.mutable_last_restore());
  web.add_addresses("192.0.2.10/24");
  web.add_addresses("2001:db8::10/64");
  web.set_mac_address("02:42:c0:00:02:0a");
  web.set_bridge("br0");
  web.set_image_name("images/python.tar.zst");
  web.set_image_digest("sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
  web.set_spec_digest("sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752");
  v1::Volume& data = *web.add_volumes();
  data.set_name("data");
  data.set_host_path("/srv/web/data");
  data.set_container_path("/var/lib/web");
  data.set_kind(v1::VOLUME_SHARED);
  data.set_read_only(true);
  web.set_capsule_memory_bytes(31'400'000);
  web.set_capsule_disk_bytes(58'000'000);
  web.set_cgroup_path("/sys/fs/cgroup/perdure/web");
  web.set_created_unix_ms(kNoon - 86'400'000);
  return web;
}

v1::ContainerStatus unprotected_db() {
  v1::ContainerStatus db;
  db.set_name("db");
  db.set_phase(v1::PHASE_RUNNING);
  db.set_init_pid(4300);
  db.mutable_protection()->set_state(v1::PROTECTION_UNPROTECTED);
  db.mutable_protection()->set_reason(
      "CRIU cannot dump process 4301 (postgres): it has another uid than root");
  db.mutable_protection()->set_remedy(
      "run the container as user 0:0, or give perdured CAP_SYS_RESOURCE");
  db.mutable_protection()->add_criu_lines("Error (criu/cr-dump.c:1234): Can't get rlimits of 4301");
  db.mutable_protection()->add_criu_lines("Error (criu/cr-dump.c:1781): Dumping FAILED.\x1b[2J");
  db.add_addresses("192.0.2.11/24");
  return db;
}

v1::ContainerStatus stopped_job() {
  v1::ContainerStatus job;
  job.set_name("nightly-report");
  job.set_phase(v1::PHASE_FAILED);
  job.set_phase_reason("it was restored 5 times within 1 min and failed again");
  job.mutable_protection()->set_state(v1::PROTECTION_STALE);
  job.mutable_newest_committed()->set_generation("1.2f.7");
  job.mutable_newest_committed()->set_age_ns(7'500'000 * kMs);
  job.set_restores(5);
  job.set_exit_status(139);
  return job;
}

v1::GenerationsReply web_generations() {
  v1::GenerationsReply reply;
  reply.set_name("web");
  add_generation(reply, "1.2f.42", "1.2f.41", 420);
  add_generation(reply, "1.2f.41", "1.2f.40", 1'220);
  add_generation(reply, "1.2f.40", "", 2'100);
  add_generation(reply, "1.2e.39", "1.2e.38", 3'700'000);
  reply.mutable_generations(0)->set_committed(false);
  reply.mutable_generations(2)->set_durable(true);
  reply.mutable_generations(3)->set_durable(true);
  reply.mutable_generations(3)->set_bad("part pages.7: digest is 91ab…, manifest says 77c2…");
  return reply;
}

v1::Event restored_event() {
  v1::Event event;
  event.set_sequence(77);
  event.set_time_unix_ms(kNoon);
  event.set_severity(v1::SEVERITY_WARNING);
  event.set_container("web");
  event.set_kind("restored");
  event.set_text("it runs again");
  event.set_reason("init was killed by signal 9 (Killed)");
  event.set_generation("1.2f.40");
  (*event.mutable_durations_ns())["restored"] = 44 * kMs;
  (*event.mutable_durations_ns())["first_packet"] = 51 * kMs;
  (*event.mutable_durations_ns())["noticed"] = 1'200'000;
  return event;
}

void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(PERDURE_CLI_TESTDATA) + "/" + name;
  if (std::getenv("PERDURE_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << text;
    return;
  }
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file.good()) << "no " << path << "; PERDURE_UPDATE_GOLDEN=1 writes it";
  std::ostringstream content;
  content << file.rdbuf();
  EXPECT_EQ(text, content.str()) << path;
}

std::string unfolded(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i).starts_with("\n  ") && !text.substr(i).starts_with("\n  ->")) {
      result += ' ';
      i = std::min(text.find_first_not_of(' ', i + 1), text.size()) - 1;
    } else {
      result += text[i];
    }
  }
  return result;
}

int widest_line(std::string_view text) {
  int widest = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    widest = std::max(widest, display_width(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return widest;
}

}  // namespace perdure::cli
