// Proves that a request of another node's operator is served here as if it had come on the socket: all its frames go back, the last one
// ends it, and it ends when the operator or the other node is gone.
//
// How: ForwardedRequests before a node with fake backends, asked by FakePeers.
#include "node/cluster/forwarding.h"

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "node/testing/control_fixture.h"
#include "node/testing/fake_peers.h"

namespace perdure::node::testing {
namespace {

using ::testing::HasSubstr;

NodeName named(const std::string& name) { return NodeName::parse(name).value(); }

struct Answers {
  std::vector<v1::Response> responses;
  std::optional<PeerRefusal> refusal;
  bool ended = false;
  Peers::Answer take() {
    return [this](std::expected<PeerMessage, PeerRefusal> answer) {
      if (!answer) {
        refusal = answer.error();
        ended = true;
        return;
      }
      EXPECT_TRUE(responses.emplace_back().ParseFromString(answer->message.forwarded().response()));
      ended = !answer->message.more();
    };
  }
};

class ForwardingTest : public ControlFixture {
 protected:
  ForwardingTest() {
    forwarded_ = std::make_unique<ForwardedRequests>(*node_, no_cluster_);
    here_.table = forwarded_->table();
    network_.connect(named("a"), named("b"));
  }
  ~ForwardingTest() override { forwarded_.reset(); }

  void forward(v1::Request request, std::uint64_t token, Answers& answers) {
    request.set_id(1);
    peer::v1::Message message;
    message.mutable_forward()->set_request(request.SerializeAsString());
    message.mutable_forward()->set_token(token);
    there_.request(named("b"), Channel::kControl, std::move(message), {}, io::kTestTime, answers.take());
  }
  void say_gone(std::uint64_t token) {
    peer::v1::Message message;
    message.mutable_forwarded_input()->set_token(token);
    message.mutable_forwarded_input()->set_gone(true);
    there_.notice(named("b"), std::move(message));
  }
  static v1::Request follow_events() {
    v1::Request request;
    request.mutable_events()->set_follow(true);
    return request;
  }
  void emit(const std::string& text) {
    v1::Event event;
    event.set_kind("test");
    event.set_text(text);
    events_.append(std::move(event));
  }
  static std::size_t count(const Answers& answers, const std::string& text) {
    std::size_t found = 0;
    for (const v1::Response& response : answers.responses) found += response.event().text() == text ? 1 : 0;
    return found;
  }

  // What was on its way through the pool and the loop has come, and what that began as well, many times over.
  void settle() {
    for (int i = 0; i < 50; ++i) {
      bool passed = false;
      ASSERT_TRUE(pool_->submit(*loop_, lifetime_, [] { return true; }, [&](bool) { passed = true; }));
      ASSERT_TRUE(until([&] { return passed; }));
      io::settle(*loop_);
    }
  }

  FakeNetwork network_{*loop_};
  FakePeers here_{network_, {named("b"), Incarnation{1}}};
  FakePeers there_{network_, {named("a"), Incarnation{1}}};
  Cluster* no_cluster_ = nullptr;
  std::unique_ptr<ForwardedRequests> forwarded_;
  io::Lifetime lifetime_;
};

TEST_F(ForwardingTest, ARequestIsAnsweredWithAllItsFrames) {
  Answers run_answers;
  forward(run_request(spec("web")), 1, run_answers);
  ASSERT_TRUE(until([&] { return run_answers.ended; }));
  ASSERT_FALSE(run_answers.refusal);
  EXPECT_TRUE(run_answers.responses.back().has_run()) << run_answers.responses.back().error().message();
  EXPECT_GT(run_answers.responses.size(), 1U) << "progress comes along";
  for (std::size_t i = 0; i + 1 < run_answers.responses.size(); ++i) EXPECT_TRUE(run_answers.responses[i].has_progress());

  Answers inspected;
  v1::Request inspect;
  inspect.mutable_inspect()->set_name("web");
  forward(inspect, 2, inspected);
  ASSERT_TRUE(until([&] { return inspected.ended; }));
  ASSERT_EQ(inspected.responses.size(), 1U);
  EXPECT_EQ(inspected.responses[0].inspect().status().name(), "web");
}

TEST_F(ForwardingTest, AnErrorOfTheRequestIsItsAnswer) {
  Answers answers;
  v1::Request inspect;
  inspect.mutable_inspect()->set_name("nobody");
  forward(inspect, 1, answers);
  ASSERT_TRUE(until([&] { return answers.ended; }));
  ASSERT_FALSE(answers.refusal);
  EXPECT_EQ(answers.responses.at(0).error().code(), v1::ERROR_NOT_FOUND);
}

TEST_F(ForwardingTest, WhatCannotBeReadIsRefused) {
  Answers answers;
  peer::v1::Message message;
  message.mutable_forward()->set_request("\xff\xff nonsense");
  there_.request(named("b"), Channel::kControl, std::move(message), {}, io::kTestTime, answers.take());
  ASSERT_TRUE(until([&] { return answers.ended; }));
  ASSERT_TRUE(answers.refusal);
  EXPECT_EQ(answers.refusal->error.code(), ErrorCode::kInvalid);
  EXPECT_THAT(answers.refusal->error.message(), HasSubstr("versions"));
}

TEST_F(ForwardingTest, AClientThatIsGoneEndsItsRequestAndNoOther) {
  Answers first;
  Answers second;
  forward(follow_events(), 1, first);
  forward(follow_events(), 2, second);
  emit("one");
  ASSERT_TRUE(until([&] { return count(first, "one") == 1 && count(second, "one") == 1; }));
  say_gone(1);
  for (int i = 0; i < 3; ++i) io::settle(*loop_);
  emit("two");
  ASSERT_TRUE(until([&] { return count(second, "two") == 1; }));
  EXPECT_EQ(count(first, "two"), 0U);
}

TEST_F(ForwardingTest, ALogWaitsForAClientThatDoesNotRead) {
  Answers run_answers;
  forward(run_request(spec("web")), 1, run_answers);
  ASSERT_TRUE(until([&] { return run_answers.ended; }));
  const std::string directory = service("web").paths().logs();
  ASSERT_TRUE(io::make_directories(directory, 0700));
  {
    std::ofstream log(directory + "/container.log", std::ios::app);
    const std::string line(4000, 'x');
    for (int i = 0; i < 2000; ++i) log << "2025-06-01T12:00:00.123Z o " << line << '\n';
  }
  Answers answers;
  v1::Request logs;
  logs.mutable_logs()->set_name("web");
  forward(logs, 2, answers);
  const auto bytes = [&] {
    std::uint64_t sum = 0;
    for (const v1::Response& response : answers.responses) sum += response.ByteSizeLong();
    return sum;
  };
  constexpr std::uint64_t kAhead = std::uint64_t{1} << 20;
  ASSERT_TRUE(until([&] { return bytes() > kAhead; }));
  ASSERT_NO_FATAL_FAILURE(settle());
  EXPECT_FALSE(answers.ended);
  EXPECT_LT(bytes(), 3 * kAhead);
  ASSERT_TRUE(until([&] {
    peer::v1::Message message;
    message.mutable_forwarded_input()->set_token(2);
    message.mutable_forwarded_input()->set_taken_bytes(bytes());
    there_.notice(named("b"), std::move(message));
    return answers.ended;
  }));
  EXPECT_GT(bytes(), 7 * kAhead);
}

TEST_F(ForwardingTest, OneNodeHasNoMoreOpenThanItsShare) {
  std::vector<std::unique_ptr<Answers>> all;
  for (std::size_t i = 0; i <= kMaxForwardedRequests; ++i) {
    all.push_back(std::make_unique<Answers>());
    forward(follow_events(), i + 1, *all.back());
  }
  ASSERT_TRUE(until([&] { return all.back()->ended; }));
  EXPECT_EQ(all.back()->refusal->error.code(), ErrorCode::kTimeout);
  EXPECT_FALSE(all.front()->ended);
  // A place is free again.
  say_gone(1);
  for (int i = 0; i < 3; ++i) io::settle(*loop_);
  Answers again;
  forward(follow_events(), 1000, again);
  emit("one");
  ASSERT_TRUE(until([&] { return count(again, "one") == 1; }));
}

TEST_F(ForwardingTest, ANodeThatIsGoneIsAnsweredNoMore) {
  Answers answers;
  forward(follow_events(), 1, answers);
  emit("one");
  ASSERT_TRUE(until([&] { return count(answers, "one") == 1; }));
  network_.cut(named("a"), named("b"));
  EXPECT_TRUE(answers.ended);
  emit("two");
  for (int i = 0; i < 3; ++i) io::settle(*loop_);
  EXPECT_EQ(count(answers, "two"), 0U);
}

TEST(ForwardedContainerTest, TheContainerOfARequestIsKnown) {
  v1::Request request;
  request.mutable_stop()->set_name("web");
  EXPECT_EQ(container_of(request), "web");
  request.mutable_list();
  EXPECT_EQ(container_of(request), "");
  v1::Response response;
  response.mutable_progress();
  EXPECT_FALSE(is_final(response));
  response.mutable_run();
  EXPECT_TRUE(is_final(response));
}

}  // namespace
}  // namespace perdure::node::testing
