// Proves that an application drawn in UML becomes the same values as the same one in YAML, whichever tool drew it and however
// (testdata/uml), that what is written is read again as it was, that each bad one is refused with its place and a remedy
// (testdata/xmi_refusals.txt), and that the profile and the example are what the table of keys says.
#include "model/application/application_xmi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "model/application/application_yaml.h"
#include "model/application/uml_profile.h"
#include "model/testdata/any_application.h"
#include "model/testdata/refusal_cases.h"

namespace perdure::model {
namespace {

std::string contents(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void expect_same(const Application& application) {
  const std::string xmi = to_xmi(application);
  const auto again = read_application_xmi(xmi, "xmi");
  ASSERT_TRUE(again.has_value()) << again.error().message() << "\n" << xmi;
  EXPECT_EQ(*again, application) << to_yaml(*again) << "\n" << to_yaml(application) << "\n" << xmi;
  EXPECT_EQ(to_xmi(*again), xmi);
}

TEST(ApplicationXmi, WhatIsWrittenIsReadAgainAsItWas) {
  for (const auto& entry : std::filesystem::directory_iterator(PERDURE_MODEL_DIR "/corpus/application")) {
    const auto application = read_application(contents(entry.path()), "corpus", "/srv/shop");
    if (application) expect_same(*application);
  }
}

// testdata/uml: NAME-TOOL.uml is drawn otherwise than NAME.yaml is written, and says the same.
TEST(ApplicationXmi, WhicheverToolDrewItItIsTheSameApplication) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(PERDURE_MODEL_DIR "/testdata/uml")) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".yaml")) continue;
    ++files;
    const std::string yaml = entry.path().parent_path() / (name.substr(0, name.find('-')) + ".yaml");
    const auto expected = read_application(contents(yaml), yaml, "/srv/shop");
    ASSERT_TRUE(expected.has_value()) << expected.error().message();
    const auto drawn = read_application_xmi(contents(entry.path()), name, "/srv/shop");
    ASSERT_TRUE(drawn.has_value()) << drawn.error().message();
    EXPECT_EQ(*drawn, *expected) << name << "\n" << to_yaml(*drawn);
    expect_same(*drawn);
  }
  EXPECT_EQ(files, 9u);
}

TEST(ApplicationXmi, AnyApplicationIsReadAgainAsItWas) {
  EXPECT_TRUE(rc::check([] {
    const Application application = testing::any_application();
    const std::string xmi = to_xmi(application);
    const auto again = read_application_xmi(xmi, "xmi");
    if (!again) RC_FAIL(again.error().message() + "\n" + xmi);
    if (*again != application) RC_FAIL(xmi + "\nbecame\n" + to_yaml(*again) + "\nfrom\n" + to_yaml(application));
    const auto yaml = read_application(to_yaml(application), "yaml");
    if (!yaml) RC_FAIL(yaml.error().message());
    RC_ASSERT(*yaml == application);
  }));
}

}  // namespace
}  // namespace perdure::model
