// Proves that a layout's defaults are read, that the right platform is chosen, and that a blob
// which does not match its digest is never believed.
#include "image/oci_layout.h"

#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "image/sha256.h"
#include "image/test_support.h"

namespace perdure::image {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr const char* kIndexType = "application/vnd.oci.image.index.v1+json";

class OciLayoutTest : public testing::Test {
 protected:
  std::string add_blob(const Json& value) {
    const std::string text = value.dump();
    const std::string digest = sha256_of(text);
    test::write_text(blob_path(digest), text);
    return digest;
  }
  std::string blob_path(const std::string& digest) const {
    return layout() + "/blobs/sha256/" + std::string(digest_hex(digest));
  }
  const std::string& layout() const { return directory_.path(); }

  std::string add_image(const std::string& architecture) {
    const std::string config = add_blob({{"architecture", architecture},
                                         {"os", "linux"},
                                         {"config",
                                          {{"Entrypoint", {"/bin/server"}},
                                           {"Cmd", {"--port", "80"}},
                                           {"Env", {"A=1"}},
                                           {"WorkingDir", "/srv"},
                                           {"User", "web"}}}});
    return add_blob({{"schemaVersion", 2}, {"config", {{"digest", config}}}});
  }
  void write_index(const std::string& digest, const char* type, const std::string& tag) {
    const Json index = {
        {"manifests",
         Json::array({{{"digest", digest},
                       {"mediaType", type},
                       {"annotations", {{"org.opencontainers.image.ref.name", tag}}}}})}};
    test::write_text(layout() + "/index.json", index.dump());
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(OciLayoutTest, ReadsTheDefaults) {
  const std::string manifest = add_image("amd64");
  write_index(manifest, kManifestType, "v1");
  const auto image = read_oci_image(layout(), "v1", "amd64");
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ(image->manifest_digest, manifest);
  EXPECT_THAT(image->defaults.entrypoint, ElementsAre("/bin/server"));
  EXPECT_THAT(image->defaults.command, ElementsAre("--port", "80"));
  EXPECT_THAT(image->defaults.environment, ElementsAre("A=1"));
  EXPECT_EQ(image->defaults.working_directory, "/srv");
  EXPECT_EQ(image->defaults.user, "web");
  const ImageDescription description{manifest, sha256_of("tree"), "here", image->defaults};
  const auto again = description_from_json(to_json(description), "image.json");
  EXPECT_EQ(again.value().defaults, image->defaults);
  EXPECT_EQ(again.value().digest, manifest);
  EXPECT_EQ(again.value().tree, description.tree);
}

TEST_F(OciLayoutTest, UnknownTagIsNamedWithThoseThereAre) {
  write_index(add_image("amd64"), kManifestType, "v1");
  const auto image = read_oci_image(layout(), "v2", "amd64");
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(image.error().message(), HasSubstr("'v1'"));
}

TEST_F(OciLayoutTest, AnIndexLeadsToTheImageOfThisMachine) {
  const std::string amd = add_image("amd64");
  const std::string arm = add_image("arm64");
  const Json index = {
      {"manifests",
       Json::array(
           {{{"digest", amd}, {"platform", {{"architecture", "amd64"}, {"os", "linux"}}}},
            {{"digest", arm}, {"platform", {{"architecture", "arm64"}, {"os", "linux"}}}}})}};
  write_index(add_blob(index), kIndexType, "v1");
  EXPECT_EQ(read_oci_image(layout(), "v1", "arm64").value().manifest_digest, arm);
  EXPECT_EQ(read_oci_image(layout(), "v1", "riscv64").error().code(), ErrorCode::kUnsupported);
}

TEST_F(OciLayoutTest, ForeignArchitectureIsRefused) {
  write_index(add_image("arm64"), kManifestType, "v1");
  const auto image = read_oci_image(layout(), "v1", "amd64");
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(image.error().message(), HasSubstr("arm64"));
}

TEST_F(OciLayoutTest, TamperedBlobIsCorrupt) {
  const std::string manifest = add_image("amd64");
  write_index(manifest, kManifestType, "v1");
  test::write_text(blob_path(manifest), test::read_text(blob_path(manifest)) + " ");
  EXPECT_EQ(read_oci_image(layout(), "v1", "amd64").error().code(), ErrorCode::kCorrupt);
}

TEST_F(OciLayoutTest, GarbageIsRefusedWithoutHarm) {
  EXPECT_EQ(read_oci_image(layout(), "v1", "amd64").error().code(), ErrorCode::kNotFound);
  test::write_text(layout() + "/index.json", "[1, 2");
  EXPECT_EQ(read_oci_image(layout(), "v1", "amd64").error().code(), ErrorCode::kCorrupt);
  test::write_text(layout() + "/index.json", R"({"manifests": [1, {"annotations": 3}]})");
  EXPECT_EQ(read_oci_image(layout(), "v1", "amd64").error().code(), ErrorCode::kNotFound);
  write_index("sha256:../../etc/passwd", kManifestType, "v1");
  EXPECT_EQ(read_oci_image(layout(), "v1", "amd64").error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace perdure::image
