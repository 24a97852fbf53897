// list, inspect, generations, events, logs, export and import over the control socket.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "base/fd.h"
#include "node/testing/control_fixture.h"

namespace perdure::node::testing {
namespace {

constexpr const char* kSeldom = "checkpoint:\n  interval: 1h\n";

class ReadRequestsTest : public ControlFixture {
 protected:
  void SetUp() override { serve(); }
  static v1::Request logs(const std::string& name, bool follow = false) {
    v1::Request request;
    request.mutable_logs()->set_name(name);
    request.mutable_logs()->set_follow(follow);
    return request;
  }
  static v1::Request remove(const std::string& name) {
    v1::Request request;
    request.mutable_remove()->set_name(name);
    request.mutable_remove()->set_force(true);
    return request;
  }
  void write_log(const std::string& name, const std::string& text) {
    const std::string directory = service(name).paths().logs();
    ASSERT_TRUE(io::make_directories(directory, 0700));
    std::ofstream(directory + "/container.log", std::ios::app) << "2025-06-01T12:00:00.123Z o " << text << '\n';
  }
  static std::string text_of(const std::vector<v1::Response>& responses) {
    std::string text;
    for (const v1::Response& response : responses) text += response.log().data();
    return text;
  }
};

// ---- inspect, generations ----

TEST_F(ReadRequestsTest, InspectShowsSpecificationAndItsOwnEvents) {
  TestClient one = client();
  run(one, "web", kSeldom);
  run(one, "other", kSeldom);
  v1::Request request;
  request.mutable_inspect()->set_name("web");
  const v1::Response response = one.call(request);
  ASSERT_TRUE(response.has_inspect());
  EXPECT_NE(response.inspect().spec_yaml().find("name: web"), std::string::npos);
  EXPECT_GT(response.inspect().recent_events_size(), 0);
  for (const v1::Event& event : response.inspect().recent_events()) EXPECT_EQ(event.container(), "web");
  EXPECT_EQ(response.inspect().status().interval().asked_ns(), 3600'000'000'000);
}

TEST_F(ReadRequestsTest, ExplainTellsTheLastRecoveryAndWhatWouldFollowTheNext) {
  TestClient one = client();
  run(one, "web", kSeldom);
  v1::Request request;
  request.mutable_explain()->set_name("web");
  v1::Response response = one.call(request);
  ASSERT_TRUE(response.has_explain());
  EXPECT_FALSE(response.explain().has_recovery()) << "it has never failed";
  EXPECT_EQ(response.explain().if_it_died(), "back to generation 1.1.1, in place");
  EXPECT_EQ(response.explain().status().phase(), v1::PHASE_RUNNING);

  v1::Request restore;
  restore.mutable_restore()->set_name("web");
  restore.mutable_restore()->set_generation("1.1.1");
  ASSERT_TRUE(one.call(restore).has_restore());
  response = one.call(request);
  ASSERT_TRUE(response.explain().has_recovery());
  const v1::Recovery& recovery = response.explain().recovery();
  EXPECT_EQ(recovery.scope(), v1::RECOVERY_SCOPE_OPERATOR);
  EXPECT_EQ(recovery.outcome(), v1::RECOVERY_OUTCOME_RESTORED);
  EXPECT_EQ(recovery.generation(), "1.1.1");

  ASSERT_TRUE(one.call(remove("web")).has_remove());
  response = one.call(request);
  EXPECT_TRUE(response.explain().has_recovery()) << "of what is gone its events are left";
  EXPECT_FALSE(response.explain().has_status());
  request.mutable_explain()->set_name("never");
  EXPECT_EQ(one.call(request).error().code(), v1::ERROR_NOT_FOUND);
}

TEST_F(ReadRequestsTest, GenerationsAreListedNewestFirst) {
  TestClient one = client();
  run(one, "web", kSeldom);
  v1::Request checkpoint;
  checkpoint.mutable_checkpoint()->set_name("web");
  ASSERT_TRUE(one.call(checkpoint).has_checkpoint());
  v1::Request request;
  request.mutable_generations()->set_name("web");
  const v1::Response response = one.call(request);
  ASSERT_EQ(response.generations().generations_size(), 2);
  const v1::GenerationRow& newest = response.generations().generations(0);
  const v1::GenerationRow& oldest = response.generations().generations(1);
  EXPECT_EQ(newest.generation(), "1.1.2");
  EXPECT_EQ(newest.kind(), v1::GENERATION_KIND_DELTA);
  EXPECT_EQ(newest.parent(), "1.1.1");
  EXPECT_EQ(oldest.kind(), v1::GENERATION_KIND_FULL);
  EXPECT_TRUE(oldest.committed() && oldest.durable());
  EXPECT_GT(oldest.full_bytes(), 0u);
  EXPECT_GT(oldest.kept_bytes(), newest.kept_bytes());
  EXPECT_LE(newest.age_ns(), oldest.age_ns());
}

TEST_F(ReadRequestsTest, AGenerationThatIsMarkedSaysWhy) {
  TestClient one = client();
  run(one, "web", std::string(kSeldom) + "restart:\n  cold-start: never\n");
  backend("web").on_restore([] { return Status(fail(ErrorCode::kIo, "it does not go")); });
  backend("web").die();
  ASSERT_TRUE(until([&] { return service("web").status().phase == policy::Phase::kFailed; }));
  v1::Request request;
  request.mutable_generations()->set_name("web");
  const v1::Response response = one.call(request);
  ASSERT_EQ(response.generations().generations_size(), 1);
  EXPECT_TRUE(response.generations().generations(0).bad().starts_with("suspect: "))
      << response.generations().generations(0).bad();
}

// ---- events ----

TEST_F(ReadRequestsTest, EventsAreFilteredByContainerNumberAndTime) {
  TestClient one = client();
  run(one, "web", kSeldom);
  run(one, "other", kSeldom);
  v1::Request request;
  request.mutable_events();
  EXPECT_TRUE(one.call(request).has_done());
  const std::size_t all = one.before.size();
  ASSERT_GT(all, 3u);
  request.mutable_events()->set_name("web");
  one.call(request);
  EXPECT_LT(one.before.size(), all);
  for (const v1::Response& response : one.before) EXPECT_EQ(response.event().container(), "web");
  const std::uint64_t newest = one.before.back().event().sequence();
  request.mutable_events()->set_since_sequence(newest - 1);
  one.call(request);
  ASSERT_EQ(one.before.size(), 1u);
  EXPECT_EQ(one.before[0].event().sequence(), newest);
  request.mutable_events()->clear_since_sequence();
  request.mutable_events()->set_since_unix_ms(one.before[0].event().time_unix_ms() + 3'600'000);
  one.call(request);
  EXPECT_TRUE(one.before.empty());
}

TEST_F(ReadRequestsTest, FollowedEventsComeAsTheyHappen) {
  TestClient follower = client();
  v1::Request request;
  request.mutable_events()->set_follow(true);
  follower.send(request);
  TestClient one = client();
  run(one, "web", kSeldom);
  std::vector<std::string> kinds;
  while (kinds.empty() || kinds.back() != "protected") {
    const auto response = follower.next();
    ASSERT_TRUE(response && response->has_event());
    kinds.push_back(response->event().kind());
  }
  EXPECT_EQ(kinds.front(), "started");
}

// ---- logs ----

TEST_F(ReadRequestsTest, LogsAreGivenToTheirEnd) {
  TestClient one = client();
  run(one, "web", kSeldom);
  EXPECT_TRUE(one.call(logs("web")).has_done());
  EXPECT_TRUE(one.before.empty()) << "it has written nothing";
  write_log("web", "one");
  write_log("web", "two");
  EXPECT_TRUE(one.call(logs("web")).has_done());
  EXPECT_EQ(text_of(one.before), "one\ntwo\n");
  v1::Request tail = logs("web");
  tail.mutable_logs()->set_tail_lines(1);
  one.call(tail);
  EXPECT_EQ(text_of(one.before), "two\n");
  EXPECT_EQ(one.call(logs("no")).error().code(), v1::ERROR_NOT_FOUND);
}

TEST_F(ReadRequestsTest, FollowedLogsEndWithTheContainer) {
  TestClient one = client();
  run(one, "web", kSeldom);
  TestClient follower = client();
  follower.send(logs("web", true));
  TestClient barrier = client();
  v1::Request list;
  list.mutable_list();
  ASSERT_TRUE(barrier.call(list).has_list());
  std::string seen;
  for (const char* text : {"one", "two"}) {
    write_log("web", text);
    while (!seen.ends_with(std::string(text) + "\n")) {
      const auto response = follower.next();
      ASSERT_TRUE(response && response->has_log());
      seen += response->log().data();
    }
    const std::string directory = service("web").paths().logs();
    ASSERT_EQ(::rename((directory + "/container.log").c_str(), (directory + "/container.log.1").c_str()), 0);
  }
  EXPECT_EQ(seen, "one\ntwo\n");
  ASSERT_TRUE(one.call(remove("web")).has_remove());
  EXPECT_TRUE(follower.final().has_done());
}

TEST_F(ReadRequestsTest, ALogLargerThanASendQueueReachesASlowReader) {
  TestClient one = client();
  run(one, "web", kSeldom);
  const std::string line(8000, 'x');
  constexpr std::uint64_t kBytes = 40u << 20;  // more than a connection may hold
  static_assert(kBytes > io::kMaxSendQueueBytes);
  {
    const std::string directory = service("web").paths().logs();
    ASSERT_TRUE(io::make_directories(directory, 0700));
    std::ofstream file(directory + "/container.log");
    for (std::uint64_t written = 0; written < kBytes; written += line.size()) {
      file << "2025-06-01T12:00:00.123Z o " << line << '\n';
    }
  }
  TestClient reader = client();
  reader.send(logs("web"));
  // It does not read while others are served, several times around the loop.
  v1::Request list;
  list.mutable_list();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(one.call(list).has_list());
  EXPECT_TRUE(reader.final().has_done());
  std::uint64_t received = 0;
  for (const v1::Response& response : reader.before) received += response.log().data().size();
  EXPECT_GE(received, kBytes);
}

// ---- export, import ----

class TransferTest : public ReadRequestsTest {
 protected:
  static v1::Request export_request(const std::string& name) {
    v1::Request request;
    request.mutable_export_()->set_name(name);
    return request;
  }
  static v1::Request import_request(const std::string& name = "") {
    v1::Request request;
    request.mutable_import();
    if (!name.empty()) request.mutable_import()->set_name(name);
    return request;
  }
  UniqueFd file(int flags) { return open_file(directory_ / "web.capsule", flags, 0600).value(); }
};

TEST_F(TransferTest, WhatIsExportedCanBeImportedAndRestored) {
  TestClient one = client();
  run(one, "web", kSeldom);
  const v1::Response exported = one.call(export_request("web"), file(O_WRONLY | O_CREAT).get());
  ASSERT_TRUE(exported.has_export_()) << exported.error().message();
  EXPECT_EQ(exported.export_().generation(), "1.1.1");
  EXPECT_TRUE(exported.export_().digest().starts_with("xxh3-128:"));
  const v1::Response taken = one.call(import_request(), file(O_RDONLY).get());
  EXPECT_EQ(taken.error().code(), v1::ERROR_EXISTS);
  const v1::Response imported = one.call(import_request("copy"), file(O_RDONLY).get());
  ASSERT_TRUE(imported.has_import()) << imported.error().message();
  EXPECT_EQ(imported.import().original_name(), "web");
  EXPECT_EQ(imported.import().status().name(), "copy");
  EXPECT_EQ(imported.import().status().phase(), v1::PHASE_STOPPED);
  EXPECT_FALSE(imported.import().generation().empty());
  EXPECT_GT(imported.import().bytes(), 0u);
  v1::Request restore;
  restore.mutable_restore()->set_name("copy");
  const v1::Response restored = one.call(restore);
  ASSERT_TRUE(restored.has_restore()) << restored.error().message();
  EXPECT_EQ(restored.restore().status().phase(), v1::PHASE_RUNNING);
}

TEST_F(TransferTest, ThroughAPipeTheEndIsSeenWhenItIsDone) {
  TestClient one = client();
  run(one, "web", kSeldom);
  Pipe pipe = make_pipe().value();
  std::string bytes;
  std::thread reader([&] {
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(pipe.read_end.get(), buffer, sizeof buffer)) > 0;) {
      bytes.append(buffer, static_cast<std::size_t>(got));
    }
  });
  one.send(export_request("web"), pipe.write_end.get());
  pipe.write_end.reset();
  const v1::Response exported = one.final();
  reader.join();
  ASSERT_TRUE(exported.has_export_()) << exported.error().message();
  EXPECT_EQ(exported.export_().bytes(), bytes.size());
}

TEST_F(TransferTest, DescriptorsThatDoNotFitAreRefused) {
  TestClient one = client();
  run(one, "web", kSeldom);
  EXPECT_EQ(one.call(export_request("web")).error().code(), v1::ERROR_INVALID);
  EXPECT_EQ(one.call(import_request()).error().code(), v1::ERROR_INVALID);
  const UniqueFd writable = file(O_WRONLY | O_CREAT);
  EXPECT_EQ(one.call(import_request(), writable.get()).error().code(), v1::ERROR_INVALID);
  EXPECT_EQ(one.call(export_request("web"), file(O_RDONLY).get()).error().code(), v1::ERROR_INVALID);
  const UniqueFd directory = open_file(directory_.path(), O_RDONLY | O_DIRECTORY).value();
  EXPECT_EQ(one.call(import_request(), directory.get()).error().code(), v1::ERROR_INVALID);
}

TEST_F(TransferTest, ADamagedArchiveIsCorruptAndLeavesNothing) {
  TestClient one = client();
  std::ofstream(directory_ / "web.capsule") << std::string(10'000, 'x');
  EXPECT_EQ(one.call(import_request("web"), file(O_RDONLY).get()).error().code(), v1::ERROR_CORRUPT);
  EXPECT_TRUE(node_->containers().empty());
}

TEST_F(TransferTest, AGenerationThatIsNotThereIsNotExported) {
  TestClient one = client();
  run(one, "web", kSeldom);
  v1::Request request = export_request("web");
  request.mutable_export_()->set_generation("1.1.77");
  EXPECT_EQ(one.call(request, file(O_WRONLY | O_CREAT).get()).error().code(), v1::ERROR_NOT_FOUND);
}

TEST_F(TransferTest, TransfersThatHangAreBounded) {
  TestClient one = client();
  run(one, "web", kSeldom);
  std::vector<Pipe> pipes;
  std::vector<TestClient> clients;
  for (int i = 0; i < kMaxTransfers; ++i) {
    pipes.push_back(make_pipe().value());  // nobody writes: the import waits
    clients.push_back(client());
    clients.back().send(import_request("copy"), pipes.back().read_end.get());
  }
  v1::Request list;
  list.mutable_list();
  for (TestClient& waiting : clients) {
    waiting.send(list);
    EXPECT_TRUE(waiting.final().has_list()) << "its import has begun";
  }
  EXPECT_EQ(one.call(export_request("web"), file(O_WRONLY | O_CREAT).get()).error().code(), v1::ERROR_TRANSIENT);
  pipes.clear();
  for (TestClient& waiting : clients) EXPECT_EQ(waiting.final().error().code(), v1::ERROR_CORRUPT);
  EXPECT_TRUE(one.call(export_request("web"), file(O_WRONLY | O_CREAT).get()).has_export_());
}

}  // namespace
}  // namespace perdure::node::testing
