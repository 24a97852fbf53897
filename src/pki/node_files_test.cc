// Proves that a node finds its files again, with their modes; that damage is told by the file's name and nothing bad is
// written over something good; and that a process killed at every single system call of a write leaves what was there
// before or what is new, never a certificate without its key. The kills are by ptrace(2), in a child.
#include "pki/node_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <format>
#include <fstream>
#include <functional>

#include "base/fd.h"
#include "pki/test_support.h"

namespace perdure::pki {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::new_authority;
using testing::new_node;
using testing::NodeCredentials;

NodeIdentity identity_of(const Authority& authority, const std::string& name = "alpha", bool manager = true) {
  const NodeCredentials node = new_node(authority, testing::FixedClock(), name);
  NodeIdentity identity;
  identity.certificate = node.certificate;
  identity.key = node.key;
  identity.authorities = authority.certificate();
  if (manager) identity.authority = Authority::load(authority.certificate(), authority.private_key()).value();
  identity.ring = KeyRing().rotated(WallTime()).value();
  identity.revocations = authority.revocation_list({"0a"}, testing::FixedClock()).value();
  return identity;
}

void expect_same(const NodeIdentity& a, const NodeIdentity& b) {
  EXPECT_EQ(a.certificate, b.certificate);
  EXPECT_EQ(a.key, b.key);
  EXPECT_EQ(a.authorities, b.authorities);
  EXPECT_EQ(a.authority.has_value(), b.authority.has_value());
  EXPECT_EQ(a.ring.to_text(), b.ring.to_text());
  EXPECT_EQ(a.revocations, b.revocations);
}

class NodeFilesTest : public ::testing::Test {
 protected:
  std::string text_of(const std::string& name) const { return read_file(directory_ / ("pki/" + name)).value(); }
  void put(const std::string& name, std::string_view text) const {
    std::ofstream(directory_ / ("pki/" + name), std::ios::binary | std::ios::trunc) << text;
  }

  testing::TemporaryDirectory directory_;
  NodeFiles files_{directory_ / "pki"};
  Authority authority_ = new_authority();
};

TEST_F(NodeFilesTest, ComeBackAsTheyWereWritten) {
  EXPECT_EQ(files_.read().error().code(), ErrorCode::kNotFound);
  const NodeIdentity identity = identity_of(authority_);
  const Status written = files_.write(identity);
  ASSERT_TRUE(written) << written.error().message();
  const auto read = files_.read();
  ASSERT_TRUE(read) << read.error().message();
  expect_same(*read, identity);
  EXPECT_EQ(read->certificate.find("PRIVATE"), std::string::npos);
  EXPECT_EQ(read->authority->private_key(), authority_.private_key());

  struct stat status{};
  ASSERT_EQ(::stat((directory_ / "pki").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  int count = 0;
  for (const auto& entry : fs::directory_iterator(directory_ / "pki")) {
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u) << entry.path();
    ++count;
  }
  EXPECT_EQ(count, 5);
}

TEST_F(NodeFilesTest, ADirectoryThatIsOpenToOthersIsClosed) {
  fs::create_directory(directory_ / "pki");
  fs::permissions(directory_ / "pki", fs::perms::all);
  ASSERT_TRUE(files_.write(identity_of(authority_)));
  EXPECT_EQ(fs::status(directory_ / "pki").permissions(), fs::perms::owner_all);
}

TEST_F(NodeFilesTest, ANodeThatIsNoManagerHasNoAuthority) {
  NodeIdentity identity = identity_of(authority_, "alpha", false);
  identity.revocations.clear();
  ASSERT_TRUE(files_.write(identity));
  auto read = files_.read();
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->authority);
  EXPECT_TRUE(read->revocations.empty());
  ASSERT_TRUE(files_.write_authority(authority_));
  EXPECT_TRUE(files_.read()->authority);
  ASSERT_TRUE(files_.remove_authority());
  ASSERT_TRUE(files_.remove_authority());
  EXPECT_FALSE(files_.read()->authority);
}

TEST_F(NodeFilesTest, SingleFilesAreReplaced) {
  ASSERT_TRUE(files_.write(identity_of(authority_)));
  const Authority next = new_authority();
  const NodeIdentity renewed = [&] {
    NodeIdentity identity = identity_of(next);
    identity.authorities = authority_.certificate() + next.certificate();
    identity.ring = KeyRing().rotated(WallTime())->rotated(WallTime()).value();
    return identity;
  }();
  ASSERT_TRUE(files_.write_authorities(renewed.authorities));
  ASSERT_TRUE(files_.write_authority(*renewed.authority));
  ASSERT_TRUE(files_.write_certificate(renewed.certificate, renewed.key));
  ASSERT_TRUE(files_.write_ring(renewed.ring));
  ASSERT_TRUE(files_.write_revocations(renewed.revocations));
  const auto read = files_.read();
  ASSERT_TRUE(read) << read.error().message();
  expect_same(*read, renewed);
}

TEST_F(NodeFilesTest, WhatIsBadIsNotWritten) {
  const NodeIdentity good = identity_of(authority_);
  ASSERT_TRUE(files_.write(good));
  const NodeCredentials other = new_node(authority_);
  const auto code = [](const Status& status) { return status.error().code(); };
  EXPECT_EQ(code(files_.write_certificate(good.certificate, other.key)), ErrorCode::kInvalid);
  EXPECT_EQ(code(files_.write_certificate(good.certificate, "")), ErrorCode::kInvalid);
  EXPECT_EQ(code(files_.write_authorities("")), ErrorCode::kInvalid);
  EXPECT_EQ(code(files_.write_authorities(good.certificate)), ErrorCode::kInvalid);
  EXPECT_EQ(code(files_.write_authorities(authority_.certificate() + good.certificate)), ErrorCode::kInvalid);
  EXPECT_EQ(code(files_.write_revocations("x")), ErrorCode::kInvalid);
  NodeIdentity bad = identity_of(authority_);
  bad.authorities = "x";
  EXPECT_EQ(code(files_.write(bad)), ErrorCode::kInvalid);
  bad = identity_of(authority_);
  bad.key = other.key;
  EXPECT_EQ(code(files_.write(bad)), ErrorCode::kInvalid);
  expect_same(files_.read().value(), good);
}

TEST_F(NodeFilesTest, DamageIsToldByTheFilesName) {
  const NodeIdentity good = identity_of(authority_);
  ASSERT_TRUE(files_.write(good));
  const Authority other = new_authority();
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"node.pem",
       {"", "x", good.certificate, good.key, good.certificate + other.private_key(), std::string(5 << 20, 'x')}},
      {"authority.crt", {"", "x", good.certificate, authority_.certificate() + "-----BEGIN CERTIFICATE-----\n"}},
      {"authority.pem", {"x", authority_.certificate() + other.private_key(), good.certificate + good.key}},
      {"capsule.keys", {"", "x", good.ring.to_text().substr(1)}},
      {"revoked.crl", {"x", authority_.certificate()}},
  };
  for (const auto& [name, texts] : cases) {
    const std::string before = text_of(name);
    for (const std::string& text : texts) {
      put(name, text);
      const auto read = files_.read();
      ASSERT_FALSE(read) << name << ": " << text.substr(0, 100);
      EXPECT_EQ(read.error().code(), ErrorCode::kCorrupt);
      EXPECT_THAT(read.error().message(), HasSubstr(directory_ / ("pki/" + name)));
      EXPECT_EQ(read.error().message().find("PRIVATE"), std::string::npos);
    }
    put(name, before);
    EXPECT_TRUE(files_.read());
  }
}

TEST_F(NodeFilesTest, WhatIsMissingBesideTheCertificateIsDamage) {
  for (const char* name : {"authority.crt", "capsule.keys"}) {
    ASSERT_TRUE(files_.write(identity_of(authority_)));
    fs::remove(directory_ / (std::string("pki/") + name));
    EXPECT_EQ(files_.read().error().code(), ErrorCode::kCorrupt);
    EXPECT_THAT(files_.read().error().message(), HasSubstr(name));
  }
  ASSERT_TRUE(files_.write(identity_of(authority_)));
  fs::remove(directory_ / "pki/node.pem");
  EXPECT_EQ(files_.read().error().code(), ErrorCode::kNotFound);
}

TEST_F(NodeFilesTest, LeavingRemovesEverything) {
  ASSERT_TRUE(files_.remove_all());
  ASSERT_TRUE(files_.write(identity_of(authority_)));
  put(".node.pem.0123456789abcdef.tmp", "half a key");
  put("operator's.txt", "not ours");
  ASSERT_TRUE(files_.remove_all());
  EXPECT_EQ(files_.read().error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "pki"), {}), 1);
}

// Runs `action` in a child that is killed before its system call number `call`. Whether it was done before that.
bool run_until(std::size_t call, const std::function<Status()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    ::_exit(action() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
  std::size_t stops = 0;
  while (WIFSTOPPED(status)) {
    if (WSTOPSIG(status) == (SIGTRAP | 0x80) && stops++ == 2 * call)
      ::kill(child, SIGKILL);  // one at entry, one at exit
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    EXPECT_EQ(::waitpid(child, &status, 0), child);
  }
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "the action failed";
  return WIFEXITED(status);
}

TEST_F(NodeFilesTest, AKillAtEverySystemCallLeavesAPairThatFits) {
  ASSERT_TRUE(files_.write(identity_of(authority_)));
  const std::string before = text_of("node.pem");
  const NodeCredentials renewed = new_node(authority_);
  bool seen_old = false;
  std::size_t call = 0;
  for (bool done = false; !done; ++call) {
    put("node.pem", before);
    done = run_until(call, [&] { return files_.write_certificate(renewed.certificate, renewed.key); });
    const auto read = files_.read();
    ASSERT_TRUE(read) << "call " << call << ": " << read.error().message();
    const bool is_new = read->certificate == renewed.certificate;
    EXPECT_EQ(read->key == renewed.key, is_new);
    EXPECT_TRUE(is_new || !done);
    seen_old = seen_old || !is_new;
    ASSERT_TRUE(files_.remove_left_over());
  }
  EXPECT_TRUE(seen_old);
  EXPECT_GT(call, 6u);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_ / "pki"), {}), 5);
}

TEST_F(NodeFilesTest, AKillAtEverySystemCallOfAJoinLeavesAMemberOrNone) {
  const NodeIdentity old = identity_of(authority_, "alpha");
  const Authority other = new_authority();
  const NodeIdentity joined = identity_of(other, "beta", false);
  std::size_t call = 0;
  std::size_t none = 0;
  for (bool done = false; !done; ++call) {
    ASSERT_TRUE(files_.write(old));
    done = run_until(call, [&] { return files_.write(joined); });
    const auto read = files_.read();
    if (read) {
      const bool is_new = read->certificate == joined.certificate;
      EXPECT_TRUE(is_new || !done);
      expect_same(*read, is_new ? joined : old);
    } else {
      EXPECT_EQ(read.error().code(), ErrorCode::kNotFound) << "call " << call << ": " << read.error().message();
      EXPECT_FALSE(done);
      ++none;
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(none, 10u);
}

TEST_F(NodeFilesTest, AKillAtEverySystemCallOfLeavingLeavesAMemberOrNone) {
  const NodeIdentity identity = identity_of(authority_);
  for (std::size_t call = 0;; ++call) {
    ASSERT_TRUE(files_.write(identity));
    const bool done = run_until(call, [&] { return files_.remove_all(); });
    const auto read = files_.read();
    if (read) {
      EXPECT_FALSE(done);
      expect_same(*read, identity);
    } else {
      ASSERT_EQ(read.error().code(), ErrorCode::kNotFound) << "call " << call << ": " << read.error().message();
    }
    if (done) break;
  }
}

}  // namespace
}  // namespace perdure::pki
