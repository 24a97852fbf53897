// Proves that a Compose file becomes the application that docs/compose.md says: every key in its forms (testdata/compose), the
// examples as their YAML, what has no effect named, what would be another application refused (testdata/compose_refusals.txt), and that
// files that grow are stopped.
#include "model/application/application_compose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <string_view>

#include "model/application/application_yaml.h"
#include "model/compose/compose_files.h"
#include "model/compose/compose_service.h"
#include "model/testdata/refusal_cases.h"

namespace perdure::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kData = PERDURE_MODEL_DIR "/testdata/compose";

std::string contents(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

Result<ComposeImage> any_image(const OciRoot& image) {
  if (image.path.ends_with("/unknown")) return fail(ErrorCode::kNotFound, "no image there");
  return ComposeImage{.entrypoint = {"/entry"}, .command = {"serve"}, .working_directory = "/work", .user = "nobody"};
}

// Files that are not on the disk, below /p.
class ComposeFiles {
 public:
  explicit ComposeFiles(std::map<std::string, std::string> files) : files_(std::move(files)) {
    options.read_text = [this](const std::string& path, std::size_t) -> Result<std::string> {
      const auto found = files_.find(path);
      if (found == files_.end()) return fail(ErrorCode::kNotFound, "there is no such file");
      return found->second;
    };
    options.find_image = any_image;
  }
  Result<ComposeResult> read() { return read_application_compose(files_.at("/p/compose.yaml"), "compose.yaml", "/p", options); }
  std::string refusal() {
    const auto done = read();
    return done ? "accepted" : done.error().message();
  }

  ComposeOptions options{};

 private:
  std::map<std::string, std::string> files_;
};

constexpr std::string_view kTop = "x-ha: {images: i, network: {bridge: br0, addresses: [192.0.2.2-192.0.2.9/24]}}\n";

std::string with_top(std::string_view text) { return std::string(kTop) + std::string(text); }

TEST(Compose, EveryKeyBecomesWhatTheManualSays) {
  const std::string directory(kData);
  const auto read = read_application_compose(contents(directory + "/every-key.yaml"), "every-key.yaml", directory, {.find_image = any_image});
  ASSERT_TRUE(read.has_value()) << read.error().message();
  const auto expected = read_application(contents(directory + "/every-key.expected.yaml"), "expected", directory);
  ASSERT_TRUE(expected.has_value()) << expected.error().message();
  EXPECT_EQ(read->application, *expected) << to_yaml(read->application) << "\n--- instead of ---\n" << to_yaml(*expected);
  std::string notes;
  for (const std::string& note : read->notes) notes += note + "\n";
  const std::string path = directory + "/every-key.notes.txt";
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(path) << notes;
  EXPECT_EQ(notes, contents(path));
}

TEST(Compose, ManualIsUpToDate) {
  const std::string path = PERDURE_DOCS_DIR "/compose.md";
  const std::string printed = compose_reference_markdown();
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(path) << printed;
  EXPECT_EQ(contents(path), printed) << "run model_test with PERDURE_UPDATE_DOCS=1";
}

TEST(Compose, NoKeyOfAServiceIsDroppedSilently) {
  for (const compose::ServiceKey& key : compose::service_keys()) {
    if (key.treatment == compose::Treatment::kUsed) continue;
    ComposeFiles files({{"/p/compose.yaml", with_top(std::format("services: {{web: {{image: web, {}: [x]}}}}\n", key.key))}});
    const auto read = files.read();
    const std::string said = !read ? read.error().message() : read->notes.empty() ? "" : read->notes.front();
    EXPECT_THAT(said, AllOf(HasSubstr(std::format("compose.yaml:2:30: services.web.{}: ", key.key)), HasSubstr(key.text)));
    EXPECT_EQ(read.has_value(), key.treatment == compose::Treatment::kNoted) << key.key;
  }
}

TEST(Compose, WhatIsWrongIsSaidWithItsPlace) {
  const auto cases = testing::read_refusal_cases(PERDURE_MODEL_DIR "/testdata/compose_refusals.txt", kTop);
  ASSERT_GT(cases.size(), 40u);
  for (const testing::RefusalCase& bad : cases) {
    ComposeFiles files({{"/p/compose.yaml", bad.document}});
    EXPECT_EQ(testing::refusal_of(files.read(), "compose.yaml"), bad.expected) << bad.title;
  }
}

TEST(Compose, ProfilesChooseServices) {
  ComposeFiles files({{"/p/compose.yaml", with_top("services:\n  a: {image: a}\n  b: {image: b, profiles: [x, y]}\n  c: {image: c, profiles: [z]}\n")}});
  const auto names = [&] {
    const auto read = files.read();
    EXPECT_TRUE(read.has_value()) << read.error().message();
    std::string all;
    for (const Component& component : read->application.components) all += component.name();
    return all;
  };
  EXPECT_EQ(names(), "a");
  files.options.profiles = {"y"};
  EXPECT_EQ(names(), "ab");
  files.options.environment["COMPOSE_PROFILES"] = "q,z";
  EXPECT_EQ(names(), "abc");
  files.options = {.profiles = {"*"}, .read_text = files.options.read_text, .find_image = any_image};
  EXPECT_EQ(names(), "abc");
}

TEST(Compose, TheNameIsThatOfTheProjectThenOfTheDirectory) {
  const std::string services = with_top("services: {a: {image: a}}\n");
  ComposeFiles unnamed({{"/p/compose.yaml", services}});
  EXPECT_EQ(unnamed.read()->application.name.str(), "p");
  unnamed.options.environment["COMPOSE_PROJECT_NAME"] = "other";
  EXPECT_EQ(unnamed.read()->application.name.str(), "other");
  ComposeFiles named({{"/p/compose.yaml", "name: shop-${N:-1}\n" + services}});
  EXPECT_EQ(named.read()->application.name.str(), "shop-1");
}

TEST(Compose, VariablesComeFromTheEnvironmentThenFromTheFile) {
  ComposeFiles files({{"/p/compose.yaml", with_top("services: {a: {image: 'a:${TAG}', command: ['$NONE']}}\n")},
                      {"/p/.env", "TAG=dotenv\n"},
                      {"/p/other.env", "TAG=other\n"}});
  const auto tag = [&] { return files.read()->application.components[0].artefact.oci->tag; };
  EXPECT_EQ(tag(), "dotenv");
  EXPECT_THAT(files.read()->notes, ElementsAre("compose.yaml:2:45: the variable 'NONE' is not set; nothing stands for it"));
  files.options.env_file = "/p/other.env";
  EXPECT_EQ(tag(), "other");
  files.options.environment["TAG"] = "environment";
  EXPECT_EQ(tag(), "environment");
  files.options.env_file = "/p/none.env";
  EXPECT_THAT(files.refusal(), HasSubstr("compose.yaml:1:1: '/p/none.env' cannot be read"));
}

TEST(Compose, WhatIsWrongInAnotherFileIsSaidThere) {
  ComposeFiles files({{"/p/compose.yaml", "include: [other/compose.yaml]\n" + with_top("services:\n  a: {image: a, extends: {service: b, file: base.yaml}}\n")},
                      {"/p/other/compose.yaml", "services:\n  c: {image: c, privileged: true}\n"},
                      {"/p/base.yaml", "services:\n  b:\n    devices: [/dev/fuse]\n"}});
  EXPECT_EQ(files.refusal(),
            "/p/other/compose.yaml:2:17: services.c.privileged: the container could harm its host, and could not be restored elsewhere; remove it, and "
            "name what it needs by cap_add\n/p/base.yaml:3:5: services.a.devices: devices cannot be checkpointed; remove it");
}

TEST(Compose, CirclesEnd) {
  ComposeFiles included({{"/p/compose.yaml", "include: [b.yaml]\nservices: {}\n"}, {"/p/b.yaml", "include: [compose.yaml]\n"}});
  EXPECT_THAT(included.refusal(), HasSubstr("'/p/compose.yaml' is included by what it includes"));
  ComposeFiles extended({{"/p/compose.yaml", with_top("services:\n  a: {extends: b}\n  b: {extends: a}\n")}});
  EXPECT_THAT(extended.refusal(), HasSubstr("closes a circle"));
}

TEST(Compose, GrowthIsStopped) {
  // Each service has all that the one before it has, and as much again.
  std::string services = "services:\n  s0: {image: a, environment: {";
  for (int i = 0; i < 400; ++i) services += std::format("{}V{}: x", i == 0 ? "" : ", ", i);
  services += "}}\n";
  for (int i = 1; i < 400; ++i) services += std::format("  s{}: {{extends: s{}}}\n", i, i - 1);
  EXPECT_THAT(ComposeFiles({{"/p/compose.yaml", with_top(services)}}).refusal(), HasSubstr("more than"));
  std::string variables = "services:\n  a: {image: a, environment: [\n";
  for (int i = 0; i < 100; ++i) variables += std::format("    'V{}=${{LONG}}',\n", i);
  ComposeFiles files({{"/p/compose.yaml", with_top(variables + "  ]}\n")}});
  files.options.environment["LONG"] = std::string(100'000, 'x');
  EXPECT_THAT(files.refusal(), HasSubstr("more than 4 MiB of text"));
}

TEST(Compose, IsToldByItsNameOrItsServices) {
  for (const char* name : {"compose.yaml", "a/docker-compose.yml"}) EXPECT_TRUE(is_compose_file("", name)) << name;
  EXPECT_TRUE(is_compose_file("version: '3'\nservices:\n  a: {}\n", "stack.yaml"));
  EXPECT_TRUE(is_compose_file("include: [a]\n", "stack.yaml"));
  EXPECT_FALSE(is_compose_file("application: a\ncomponents:\n  - {command: ['\nservices:']}\n", "a.yaml"));
  EXPECT_FALSE(is_compose_file("# services:\n", "a.yaml"));
}

}  // namespace
}  // namespace perdure::model
