// run, start, stop, checkpoint, restore and rm: each is answered when the container is where the operator wanted
// it, or when it is known that it will not get there. Containers are processes that sleep (testing/fake_backend.h);
// policy, stores and sockets are the real ones.
#include <csignal>
#include <future>

#include "node/testing/control_fixture.h"

namespace perdure::node::testing {
namespace {

using policy::Phase;

class ChangeRequestsTest : public ControlFixture {
 protected:
  void SetUp() override { serve(); }

  template <typename Body>
  static v1::Request named(Body* (v1::Request::*body)(), const std::string& name) {
    v1::Request request;
    (request.*body)()->set_name(name);
    return request;
  }
  static v1::Request checkpoint(const std::string& name) { return named(&v1::Request::mutable_checkpoint, name); }
  static v1::Request restore(const std::string& name) { return named(&v1::Request::mutable_restore, name); }
  static v1::Request stop(const std::string& name) { return named(&v1::Request::mutable_stop, name); }
  static v1::Request start(const std::string& name) { return named(&v1::Request::mutable_start, name); }
  static v1::Request remove(const std::string& name) { return named(&v1::Request::mutable_remove, name); }
  static v1::Request force(v1::Request request) {
    request.mutable_remove()->set_force(true);
    return request;
  }
  // So that no periodic capture comes between.
  static constexpr const char* kSeldom = "checkpoint:\n  interval: 1h\n";

  TestClient open() { return client(); }
};

// ---- run ----

TEST_F(ChangeRequestsTest, RunIsAnsweredWhenTheContainerIsProtected) {
  TestClient one = open();
  const v1::ContainerStatus status = run(one, "web");
  EXPECT_EQ(status.phase(), v1::PHASE_RUNNING);
  EXPECT_EQ(status.protection().state(), v1::PROTECTION_PROTECTED);
  EXPECT_EQ(status.init_pid(), backend("web").pid());
  EXPECT_EQ(status.newest_committed().generation(), "1.1.1");
  EXPECT_EQ(status.newest_durable().generation(), "1.1.1");
  EXPECT_EQ(status.image_name(), "/nowhere");
  EXPECT_EQ(status.image_digest(), "sha256:fake");
  EXPECT_EQ(status.captures(), 1u);
  EXPECT_EQ(status.last_capture().frozen_ns(), 15'000'000);
  EXPECT_GT(status.capsule_disk_bytes(), 0u);
  EXPECT_TRUE(backend("web").gate_is_open());
  std::vector<std::string> stages;
  for (const v1::Response& response : one.before) {
    ASSERT_TRUE(response.has_progress());
    stages.push_back(response.progress().stage());
  }
  EXPECT_NE(std::ranges::find(stages, "capture"), stages.end());
}

TEST_F(ChangeRequestsTest, ASpecThatBreaksRulesIsRefusedWithAllItsMistakes) {
  TestClient one = open();
  const v1::Response response = one.call(run_request("name: Web!\nnonsense: 1\n"));
  ASSERT_TRUE(response.has_error());
  EXPECT_EQ(response.error().code(), v1::ERROR_INVALID);
  EXPECT_TRUE(response.error().message().starts_with("test.yaml:1:")) << response.error().message();
  EXPECT_GE(response.error().detail_size(), 1);
  EXPECT_FALSE(response.error().remedy().empty());
  EXPECT_TRUE(node_->containers().empty());
}

TEST_F(ChangeRequestsTest, ANameAndAnAddressBelongToOne) {
  TestClient one = open();
  const std::string network = "network:\n  bridge: br0\n  ipv4: 10.0.0.5/24\n";
  run(one, "web", network);
  EXPECT_EQ(one.call(run_request(spec("web"))).error().code(), v1::ERROR_EXISTS);
  const v1::Response conflict = one.call(run_request(spec("other", network)));
  EXPECT_EQ(conflict.error().code(), v1::ERROR_CONFLICT);
  EXPECT_NE(conflict.error().message().find("'web'"), std::string::npos);
}

TEST_F(ChangeRequestsTest, ANetworkInterfaceNeedsConsent) {
  if (::geteuid() != 0) GTEST_SKIP() << "links can be looked at by netlink only, which some sandboxes forbid";
  TestClient one = open();
  const v1::Response response =
      one.call(run_request(spec("web", "network:\n  nic: nosuchnic\n  ipv4: 10.0.0.5/24\n")));
  ASSERT_TRUE(response.has_error());
  EXPECT_EQ(response.error().code(), v1::ERROR_CONFIRMATION_REQUIRED);
  EXPECT_NE(response.error().message().find("nosuchnic"), std::string::npos);
  EXPECT_TRUE(node_->containers().empty());
}

TEST_F(ChangeRequestsTest, AContainerThatCannotStartSaysWhy) {
  backends_.on_new = [](FakeBackend& backend) {
    backend.on_prepare([] { return Status(fail(ErrorCode::kNotFound, "no directory '/nowhere'")); });
  };
  TestClient one = open();
  const v1::Response response = one.call(run_request(spec("web")));
  ASSERT_TRUE(response.has_error());
  EXPECT_NE(response.error().message().find("no directory '/nowhere'"), std::string::npos);
  EXPECT_FALSE(response.error().remedy().empty());
  EXPECT_EQ(service("web").status().phase, Phase::kFailed);
}

TEST_F(ChangeRequestsTest, AContainerThatCannotBeCapturedIsUnprotectedAndSaysWhatCriuSaid) {
  backends_.on_new = [](FakeBackend& backend) {
    backend.on_capture([] {
      return Status(fail(ErrorCode::kUnsupported, "dump: Error (criu/a.c:1): no\nError (criu/b.c:2): io_uring"));
    });
  };
  TestClient one = open();
  const v1::ContainerStatus status = run(one, "web");
  EXPECT_EQ(status.phase(), v1::PHASE_RUNNING);
  EXPECT_EQ(status.protection().state(), v1::PROTECTION_UNPROTECTED);
  EXPECT_FALSE(status.protection().reason().empty());
  EXPECT_FALSE(status.protection().remedy().empty());
  ASSERT_EQ(status.protection().criu_lines_size(), 2);
  EXPECT_EQ(status.protection().criu_lines(0), "Error (criu/a.c:1): no");
  EXPECT_EQ(status.protection().criu_lines(1), "Error (criu/b.c:2): io_uring");
  const v1::Response failed = one.call(checkpoint("web"));
  EXPECT_EQ(failed.error().code(), v1::ERROR_UNSUPPORTED);
  EXPECT_EQ(failed.error().detail_size(), 2);
}

TEST_F(ChangeRequestsTest, RemovalEndsTheWaitOfOthers) {
  backends_.on_new = [](FakeBackend& backend) {
    backend.on_capture([] { return Status(fail(ErrorCode::kTransient, "not now")); });
  };
  TestClient runner = open();
  runner.send(run_request(spec("web")));
  ASSERT_TRUE(until([&] { return node_->find(ContainerName::parse("web").value()) != nullptr &&
                                 service("web").status().pid > 0; }));
  TestClient remover = open();
  EXPECT_TRUE(remover.call(force(remove("web"))).has_remove());
  EXPECT_EQ(runner.final().error().code(), v1::ERROR_CANCELLED);
}

// ---- checkpoint ----

TEST_F(ChangeRequestsTest, CheckpointIsAnsweredWhenANewerGenerationIsCommitted) {
  TestClient one = open();
  run(one, "web", kSeldom);
  const v1::Response response = one.call(checkpoint("web"));
  ASSERT_TRUE(response.has_checkpoint()) << response.error().message();
  EXPECT_EQ(response.checkpoint().name(), "web");
  EXPECT_EQ(response.checkpoint().generation().generation(), "1.1.2");
  EXPECT_TRUE(response.checkpoint().generation().committed());
  EXPECT_TRUE(response.checkpoint().generation().durable());
  EXPECT_EQ(response.checkpoint().generation().frozen_ns(), 15'000'000);
  EXPECT_GT(response.checkpoint().capture().full_bytes(), 0u);
}

TEST_F(ChangeRequestsTest, ACaptureThatIsUnderWayIsNotWhatWasAskedFor) {
  TestClient one = open();
  run(one, "web", kSeldom);
  std::promise<void> proceed;
  std::shared_future<void> may_proceed = proceed.get_future().share();
  backend("web").on_capture([may_proceed] {
    may_proceed.wait();
    return Status();
  });
  ASSERT_TRUE(service("web").ask(policy::OperatorCheckpoint{}));
  ASSERT_TRUE(until([&] { return backend("web").count("capture") == 2; }));
  one.send(checkpoint("web"));
  TestClient other = open();
  v1::Request version;
  version.mutable_version();
  EXPECT_TRUE(other.call(version).has_version()) << "it has been received";
  proceed.set_value();
  EXPECT_EQ(one.final().checkpoint().generation().generation(), "1.1.3");
}

TEST_F(ChangeRequestsTest, APassingFailureIsTriedAgain) {
  TestClient one = open();
  run(one, "web", kSeldom);
  auto failures = std::make_shared<std::atomic<int>>(2);
  backend("web").on_capture([failures] {
    return (*failures)-- > 0 ? Status(fail(ErrorCode::kTransient, "a connection is in its handshake")) : Status();
  });
  EXPECT_TRUE(one.call(checkpoint("web")).has_checkpoint());
}

TEST_F(ChangeRequestsTest, ACheckpointThatKeepsFailingIsAnError) {
  TestClient one = open();
  run(one, "web", kSeldom);
  backend("web").on_capture([] { return Status(fail(ErrorCode::kTimeout, "Error (criu/x.c:1): slow")); });
  const v1::Response response = one.call(checkpoint("web"));
  ASSERT_TRUE(response.has_error());
  EXPECT_EQ(response.error().code(), v1::ERROR_TRANSIENT);
  EXPECT_NE(response.error().message().find("slow"), std::string::npos);
  EXPECT_EQ(response.error().detail(0), "Error (criu/x.c:1): slow");
}

TEST_F(ChangeRequestsTest, NamesThatAreNoneAreNotFound) {
  TestClient one = open();
  for (const v1::Request& request : {checkpoint("no"), restore("no"), stop("no"), start("no"), remove("no")}) {
    EXPECT_EQ(one.call(request).error().code(), v1::ERROR_NOT_FOUND);
  }
  EXPECT_EQ(one.call(stop("No/Name")).error().code(), v1::ERROR_INVALID);
}

// ---- restore, death ----

TEST_F(ChangeRequestsTest, RestoreIsAnsweredWhenItRunsAgain) {
  TestClient one = open();
  const pid_t before = run(one, "web", kSeldom).init_pid();
  const v1::Response response = one.call(restore("web"));
  ASSERT_TRUE(response.has_restore()) << response.error().message();
  EXPECT_EQ(response.restore().status().phase(), v1::PHASE_RUNNING);
  EXPECT_NE(response.restore().status().init_pid(), before);
  EXPECT_EQ(response.restore().status().restores(), 1u);
  EXPECT_EQ(response.restore().restore().generation(), "1.1.1");
  EXPECT_GT(response.restore().restore().restored_ns(), 0);
  EXPECT_EQ(backend("web").count("restore 1.1.1"), 1u);
}

TEST_F(ChangeRequestsTest, RestoreOfAGenerationThatIsNotThereIsRefused) {
  TestClient one = open();
  run(one, "web", kSeldom);
  v1::Request request = restore("web");
  request.mutable_restore()->set_generation("1.1.99");
  EXPECT_EQ(one.call(request).error().code(), v1::ERROR_NOT_FOUND);
  request.mutable_restore()->set_generation("nonsense");
  EXPECT_EQ(one.call(request).error().code(), v1::ERROR_INVALID);
}

TEST_F(ChangeRequestsTest, ARestoreThatFailsIsAnError) {
  TestClient one = open();
  run(one, "web", std::string(kSeldom) + "restart:\n  cold-start: never\n");
  backend("web").on_restore([] { return Status(fail(ErrorCode::kIo, "Error (criu/r.c:9): broken")); });
  const v1::Response response = one.call(restore("web"));
  ASSERT_TRUE(response.has_error());
  EXPECT_NE(response.error().message().find("'web'"), std::string::npos);
  EXPECT_FALSE(response.error().message().empty());
  EXPECT_EQ(service("web").status().phase, Phase::kFailed);
}

TEST_F(ChangeRequestsTest, ADeathIsFollowedByARestoreAndShowsInTheStatus) {
  TestClient one = open();
  run(one, "web", kSeldom);
  backend("web").die();
  ASSERT_TRUE(until([&] { return service("web").last_restore().has_value(); }));
  v1::Request inspect;
  inspect.mutable_inspect()->set_name("web");
  const v1::ContainerStatus status = one.call(inspect).inspect().status();
  EXPECT_EQ(status.failures(), 1u);
  EXPECT_EQ(status.restores(), 1u);
  EXPECT_EQ(status.exit_status(), 128 + SIGKILL);
  EXPECT_EQ(status.last_restore().generation(), "1.1.1");
  EXPECT_GE(status.last_restore().lost_ns(), 0);
}

// ---- stop, start ----

TEST_F(ChangeRequestsTest, StopTakesALastGenerationAndStartBeginsAfresh) {
  TestClient one = open();
  run(one, "web", kSeldom);
  const v1::Response stopped = one.call(stop("web"));
  ASSERT_TRUE(stopped.has_stop()) << stopped.error().message();
  EXPECT_EQ(stopped.stop().status().phase(), v1::PHASE_STOPPED);
  EXPECT_FALSE(stopped.stop().killed());
  EXPECT_FALSE(stopped.stop().status().has_init_pid());
  EXPECT_EQ(stopped.stop().status().newest_committed().generation(), "1.1.2");
  EXPECT_EQ(one.call(stop("web")).error().code(), v1::ERROR_CONFLICT) << "it is stopped";

  const v1::Response started = one.call(start("web"));
  ASSERT_TRUE(started.has_start()) << started.error().message();
  EXPECT_EQ(started.start().status().phase(), v1::PHASE_RUNNING);
  EXPECT_EQ(started.start().status().protection().state(), v1::PROTECTION_PROTECTED);
  EXPECT_EQ(backend("web").count("start"), 2u);
  EXPECT_EQ(backend("web").count("restore"), 0u);
  EXPECT_EQ(one.call(start("web")).error().code(), v1::ERROR_CONFLICT) << "it runs";
}

TEST_F(ChangeRequestsTest, AStopWhoseLastGenerationFailsStopsAllTheSame) {
  TestClient one = open();
  run(one, "web", kSeldom);
  backend("web").on_capture([] { return Status(fail(ErrorCode::kUnsupported, "no")); });
  const v1::Response stopped = one.call(stop("web"));
  ASSERT_TRUE(stopped.has_stop()) << stopped.error().message();
  EXPECT_EQ(stopped.stop().status().newest_committed().generation(), "1.1.1");
}

TEST_F(ChangeRequestsTest, AStopHasTheOperatorsDeadline) {
  backends_.on_new = [](FakeBackend& backend) { backend.ignore_sigterm(); };
  TestClient one = open();
  run(one, "web", std::string(kSeldom) + "stop:\n  deadline: 10min\n");
  v1::Request request = stop("web");
  request.mutable_stop()->set_deadline_ns(50'000'000);
  const v1::Response stopped = one.call(request);
  ASSERT_TRUE(stopped.has_stop()) << stopped.error().message();
  EXPECT_TRUE(stopped.stop().killed());
  EXPECT_GE(backend("web").count("terminate 15"), 1u);
}

TEST_F(ChangeRequestsTest, ACommandThatEndsByItselfHasExited) {
  backends_.on_new = [](FakeBackend& backend) { backend.set_exit_code(0); };
  TestClient one = open();
  run(one, "web", kSeldom);
  ::kill(backend("web").pid(), SIGTERM);
  ASSERT_TRUE(until([&] { return service("web").status().phase == Phase::kStopped; }));
  v1::Request list;
  list.mutable_list();
  const v1::Response response = one.call(list);
  ASSERT_EQ(response.list().containers_size(), 1);
  EXPECT_EQ(response.list().containers(0).phase(), v1::PHASE_EXITED);
  EXPECT_EQ(response.list().containers(0).exit_status(), 0);
}

// ---- rm ----

TEST_F(ChangeRequestsTest, ARunningContainerIsRemovedByForceOnly) {
  TestClient one = open();
  run(one, "web", kSeldom);
  const v1::Response refused = one.call(remove("web"));
  EXPECT_EQ(refused.error().code(), v1::ERROR_CONFLICT);
  EXPECT_NE(refused.error().remedy().find("--force"), std::string::npos);
  const v1::Response removed = one.call(force(remove("web")));
  ASSERT_TRUE(removed.has_remove()) << removed.error().message();
  EXPECT_TRUE(removed.remove().was_running());
  EXPECT_GT(removed.remove().freed_bytes(), 0u);
  EXPECT_TRUE(until([&] { return node_->containers().empty(); }));
  EXPECT_EQ(backend("web").count("release delete"), 1u);
}

TEST_F(ChangeRequestsTest, CapsulesMayBeKept) {
  TestClient one = open();
  run(one, "web", kSeldom);
  ASSERT_TRUE(one.call(stop("web")).has_stop());
  v1::Request request = remove("web");
  request.mutable_remove()->set_keep_capsules(true);
  const v1::Response removed = one.call(request);
  ASSERT_TRUE(removed.has_remove()) << removed.error().message();
  EXPECT_FALSE(removed.remove().was_running());
  EXPECT_EQ(removed.remove().kept_capsules(), host_.paths.state_dir + "/capsules/web");
  EXPECT_EQ(removed.remove().freed_bytes(), 0u);
  EXPECT_EQ(backend("web").count("release keep"), 1u);
}

TEST_F(ChangeRequestsTest, WhatCannotBeRemovedIsNamed) {
  TestClient one = open();
  run(one, "web", kSeldom);
  backend("web").on_release([] { return Status(fail(ErrorCode::kIo, "'/x' is busy")); });
  const v1::Response response = one.call(force(remove("web")));
  ASSERT_TRUE(response.has_error());
  EXPECT_NE(response.error().message().find("'/x' is busy"), std::string::npos);
}

}  // namespace
}  // namespace perdure::node::testing
