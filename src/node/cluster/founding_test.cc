// Proves that a new cluster leaves on disk what a member begins with, and that a wish that makes no sense leaves nothing.
#include "node/cluster/founding.h"

#include <filesystem>
#include <format>
#include <string>

#include "gmock/gmock.h"
#include "io/test_support.h"
#include "node/cluster/durable_directory.h"
#include "node/cluster/membership.h"

namespace perdure::node {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FoundingTest : public ::testing::Test {
 protected:
  FoundingTest() {
    paths_.run_dir = directory_ / "run";
    paths_.state_dir = directory_ / "state";
    wish_.node = {.node_name = "a", .listen = {"192.0.2.1"}, .labels = {{"rack", "r1"}}};
  }
  void expect_refused(const InitWish& wish, ErrorCode code, const std::string& says) {
    const auto founded = found_cluster(wish, paths_, clock_);
    ASSERT_FALSE(founded) << says;
    EXPECT_EQ(founded.error().code(), code) << founded.error().message();
    EXPECT_THAT(founded.error().message(), HasSubstr(says));
    EXPECT_FALSE(std::filesystem::exists(identity_path(paths_)));
    EXPECT_EQ(pki::NodeFiles(cluster_directory(paths_)).read().error().code(), ErrorCode::kNotFound);
    EXPECT_FALSE(std::filesystem::exists(cluster_directory(paths_))) << "nothing was begun";
  }

  const SystemClock clock_;
  io::TemporaryDirectory directory_;
  Paths paths_;
  InitWish wish_;
};

TEST_F(FoundingTest, ANewClusterIsOnDisk) {
  wish_.durable_directory = directory_.path();
  wish_.standbys = 2;
  const FoundedCluster founded = found_cluster(wish_, paths_, clock_).value();
  EXPECT_TRUE(founded.identity.manager);
  EXPECT_FALSE(founded.identity.witness);
  EXPECT_THAT(founded.identity.listen, ElementsAre("192.0.2.1:7400"));
  EXPECT_THAT(founded.identity.endpoints, ElementsAre("https://192.0.2.1:7401"));
  EXPECT_EQ(founded.settings.durable_directory, directory_.path());
  EXPECT_EQ(founded.identity.durable_directory, directory_.path());
  EXPECT_TRUE(check_durable_directory(directory_.path(), founded.identity.cluster_id));
  EXPECT_EQ(founded.settings.standbys, 2U);

  const std::string path = identity_path(paths_);
  EXPECT_EQ(identity_from_json(read_file(path).value(), path).value(), founded.identity);
  const pki::NodeIdentity kept = pki::NodeFiles(cluster_directory(paths_)).read().value();
  const pki::CertificateInfo info = pki::read_certificate(kept.certificate).value();
  EXPECT_EQ(info.name, "a");
  EXPECT_EQ(info.organisation, founded.identity.cluster_id);
  EXPECT_THAT(info.addresses, ElementsAre("192.0.2.1"));
  ASSERT_TRUE(kept.authority);
  EXPECT_EQ(kept.authority->cluster_id(), founded.identity.cluster_id);
  EXPECT_EQ(kept.authority->certificate(), founded.settings.authority_certificate_pem);
  EXPECT_TRUE(pki::read_revocation_list(kept.revocations).value().empty());
  // The ring of the settings is the ring on disk.
  ASSERT_EQ(founded.settings.keys.size(), 1U);
  EXPECT_EQ(pki::unwrap(founded.settings.keys[0], kept.authority->private_key()).value().key, kept.ring.newest().key);
  namespace fs = std::filesystem;
  EXPECT_EQ(fs::status(cluster_directory(paths_)).permissions(), fs::perms::owner_all);
  for (const auto& entry : fs::directory_iterator(cluster_directory(paths_))) {
    EXPECT_EQ(entry.status().permissions(), fs::perms::owner_read | fs::perms::owner_write) << entry.path();
  }
}

TEST_F(FoundingTest, NoTwoClustersAreTheSame) {
  const FoundedCluster first = found_cluster(wish_, paths_, clock_).value();
  const FoundedCluster second = found_cluster(wish_, paths_, clock_).value();
  EXPECT_NE(first.identity.cluster_id, second.identity.cluster_id);
  EXPECT_EQ(pki::NodeFiles(cluster_directory(paths_)).read().value().certificate, second.files.certificate);
}

TEST_F(FoundingTest, NamesAddressesLabelsAndDirectoriesAreChecked) {
  InitWish wish = wish_;
  wish.node.node_name = "No Name";
  expect_refused(wish, ErrorCode::kInvalid, "No Name");
  wish = wish_;
  wish.node.listen = {"nonsense"};
  expect_refused(wish, ErrorCode::kInvalid, "nonsense");
  wish.node.listen = {"0.0.0.0"};
  expect_refused(wish, ErrorCode::kInvalid, "name the address that other nodes reach this one at");
  wish.node.listen.assign(100, "192.0.2.1");
  expect_refused(wish, ErrorCode::kInvalid, "100 addresses");
  wish = wish_;
  wish.node.labels = {{"Rack", "r1"}};
  expect_refused(wish, ErrorCode::kInvalid, "Rack=r1");
  wish.node.labels.clear();
  for (int i = 0; i < 17; ++i) wish.node.labels[std::format("l{}", i)] = "x";
  expect_refused(wish, ErrorCode::kInvalid, "16 labels");
  wish = wish_;
  wish.durable_directory = "relative";
  expect_refused(wish, ErrorCode::kInvalid, "no absolute path");
  wish.durable_directory = directory_ / "nowhere";
  expect_refused(wish, ErrorCode::kNotFound, "mount it on every node first");
  ASSERT_TRUE(mark_durable_directory(directory_.path(), "0123"));
  wish.durable_directory = directory_.path();
  expect_refused(wish, ErrorCode::kConflict, "that of cluster 0123");
}

TEST_F(FoundingTest, WhatCannotBeWrittenLeavesNothing) {
  ASSERT_TRUE(io::make_directories(cluster_directory(paths_), 0700));
  ASSERT_TRUE(io::make_directories(identity_path(paths_), 0700));  // a directory in its place
  wish_.durable_directory = directory_.path();
  EXPECT_FALSE(found_cluster(wish_, paths_, clock_));
  EXPECT_TRUE(check_unmarked(directory_.path())) << "it can be tried again";
  EXPECT_EQ(pki::NodeFiles(cluster_directory(paths_)).read().error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(io::count_entries(cluster_directory(paths_)), 1) << "no key stays";
}

TEST_F(FoundingTest, AMembershipIsForgotten) {
  const FoundedCluster founded = found_cluster(wish_, paths_, clock_).value();
  ASSERT_TRUE(forget_membership(paths_, founded.identity, clock_.wall()));
  EXPECT_FALSE(std::filesystem::exists(identity_path(paths_)));
  EXPECT_EQ(pki::NodeFiles(cluster_directory(paths_)).read().error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(forget_membership(paths_, founded.identity, clock_.wall())) << "repeatable";
}

}  // namespace
}  // namespace perdure::node
