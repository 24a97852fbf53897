// Proves that the form of an application's file is told by what it begins with, that the examples say the same in each form, and that
// the diagram for people is what it is meant to be (testdata/shop.puml).
#include "model/application/application_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "model/application/application_plantuml.h"
#include "model/application/application_xmi.h"
#include "model/application/application_yaml.h"
#include "model/text.h"

namespace perdure::model {
namespace {

std::string contents(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TEST(ApplicationFile, FormIsToldByTheTextAndTheName) {
  for (const char* xml : {"<a/>", "\xef\xbb\xbf<?xml version=\"1.0\"?>", " \n\t<!-- -->"}) {
    EXPECT_EQ(form_of_application(xml, "shop"), ApplicationForm::kXmi) << xml;
  }
  for (const char* yaml : {"", "application: a", "<<: {}", "# <a/>\n", "{}"}) {
    EXPECT_EQ(form_of_application(yaml, "shop.yaml"), ApplicationForm::kYaml) << yaml;
  }
  EXPECT_EQ(form_of_application("application: a", "shop.uml"), ApplicationForm::kXmi);
  EXPECT_EQ(find_application_form("xmi"), ApplicationForm::kXmi);
  EXPECT_EQ(find_application_form("yaml"), ApplicationForm::kYaml);
  EXPECT_EQ(find_application_form("compose"), ApplicationForm::kCompose);
  EXPECT_EQ(form_of_application("services: {}\n", "shop.yaml"), ApplicationForm::kCompose);
  EXPECT_EQ(find_application_form("plantuml"), std::nullopt);
}

TEST(ApplicationFile, IsReadInItsForm) {
  const std::string directory = PERDURE_MODEL_DIR "/testdata/uml/";
  const auto written = read_any_application_file(directory + "pair.yaml");
  ASSERT_TRUE(written.has_value()) << written.error().message();
  EXPECT_EQ(written->application.components[0].artefact.files[0].from, directory + "a.py") << "relative to the file";
  const auto drawn = read_any_application_file(directory + "pair-papyrus.uml");
  ASSERT_TRUE(drawn.has_value()) << drawn.error().message();
  EXPECT_EQ(drawn->application, written->application);
  const auto forced = read_any_application_file(directory + "pair.yaml", ApplicationForm::kXmi);
  ASSERT_FALSE(forced.has_value());
  EXPECT_EQ(forced.error().message(), directory + "pair.yaml:1:1: no XML: there is no element in it");
  EXPECT_EQ(read_any_application_file(directory + "nothing").error().code(), ErrorCode::kNotFound);
}

// As a tool saves it: paths start at the file, and the profile is in a directory beside that of the example.
std::string drawn_example(const Application& application) {
  std::string text = to_xmi(application);
  replace_all(text, "/example/", "");
  replace_all(text, "href=\"perdure.profile.uml#", "href=\"../uml/perdure.profile.uml#");
  return text;
}

TEST(Examples, AreTheSameInAllForms) {
  for (const std::string name : {"pair", "web-shop", "streaming"}) {
    const std::string directory = PERDURE_EXAMPLES_DIR "/" + name + "/";
    const auto written = read_any_application_file(directory + name + ".yaml");
    ASSERT_TRUE(written.has_value()) << written.error().message();
    const auto anywhere = read_application(contents(directory + name + ".yaml"), name, "/example");
    const std::string uml = directory + name + ".uml";
    if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(uml) << drawn_example(*anywhere);
    EXPECT_EQ(contents(uml), drawn_example(*anywhere)) << "run model_test with PERDURE_UPDATE_DOCS=1";
    for (const std::string& other : {uml, directory + "compose.yaml"}) {
      const auto read = read_any_application_file(other);
      ASSERT_TRUE(read.has_value()) << read.error().message();
      EXPECT_EQ(read->application, written->application) << other;
      EXPECT_TRUE(read->notes.empty()) << read->notes.front();
    }
  }
}

TEST(ApplicationPlantUml, DiagramIsTheOneOfTheFile) {
  const std::string path = PERDURE_MODEL_DIR "/testdata/shop.puml";
  const auto application = read_application(contents(PERDURE_MODEL_DIR "/corpus/application/full.yaml"), "full", "/srv/shop");
  ASSERT_TRUE(application.has_value());
  const std::string drawn = to_plantuml(*application);
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(path) << drawn;
  EXPECT_EQ(contents(path), drawn) << "run model_test with PERDURE_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace perdure::model
