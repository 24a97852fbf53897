#include "image/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/debian_base.h"
#include "model/application/application_yaml.h"

namespace perdure::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

model::Application application(const std::string& artefact_a, const std::string& artefact_b) {
  auto read = model::read_application("application: shop\ncomponents:\n"
                                      "  - {name: a, command: [a], artefact: " + artefact_a + "}\n"
                                      "  - {name: b, command: [b], artefact: " + artefact_b + "}\n",
                                      "shop.yaml", "/srv");
  EXPECT_TRUE(read) << read.error().message();
  return *read;
}

TEST(Recipe, PackagesAreJoinedAndFilesKeepTheirOrder) {
  const auto recipe = recipe_of(application("{packages: [nginx, curl], files: [{from: x, to: /x}]}",
                                            "{packages: [curl, redis], files: [{from: y, to: /a}, {from: x, to: /x}]}"),
                                {0, 1});
  ASSERT_TRUE(recipe) << recipe.error().message();
  EXPECT_THAT(recipe->packages, ElementsAre("curl", "nginx", "redis"));
  EXPECT_EQ(recipe->suite, "bookworm");
  EXPECT_THAT(recipe->files, ElementsAre(model::CopiedFile{"/srv/x", "/x"}, model::CopiedFile{"/srv/y", "/a"}));
}

TEST(Recipe, OnlyOfItsOwnComponents) {
  const auto recipe = recipe_of(application("{directory: a}", "{oci: b}"), {1});
  ASSERT_TRUE(recipe) << recipe.error().message();
  EXPECT_FALSE(recipe->directory);
  EXPECT_EQ(recipe->oci, (model::OciRoot{"/srv/b", "latest"}));
}

TEST(Recipe, WhatDoesNotGoTogetherIsRefusedByName) {
  const auto bases = recipe_of(application("{directory: a}", "{oci: b}"), {0, 1});
  ASSERT_FALSE(bases);
  EXPECT_THAT(bases.error().message(), HasSubstr("'a' and 'b'"));
  const auto files = recipe_of(application("{packages: [curl], files: [{from: x, to: /x}]}", "{packages: [curl], files: [{from: y, to: /x}]}"), {0, 1});
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error().message(), HasSubstr("different files to '/x'"));
}

TEST(DebianSources, ASuiteIsAWordOfItsOwn) {
  EXPECT_TRUE(has_suite("Types: deb\nSuites: bookworm bookworm-updates\n", "bookworm"));
  EXPECT_TRUE(has_suite("deb [signed-by=/k] https://mirror.example/debian bookworm main", "bookworm"));
  EXPECT_FALSE(has_suite("Suites: bookworm-security\n", "bookworm"));
  EXPECT_FALSE(has_suite("# Suites: bookworm\nSuites:\n\n", "bookworm"));
  EXPECT_FALSE(has_suite("", "bookworm"));
}

}  // namespace
}  // namespace perdure::image
