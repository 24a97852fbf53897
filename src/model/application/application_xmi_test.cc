// Proves that an application drawn in UML becomes the same values as the same one in YAML, whichever tool drew it and however
// (testdata/uml), that what is written is read again as it was, that each bad one is refused with its place and a remedy
// (testdata/xmi_refusals.txt), and that the profile and the example are what the table of keys says.
#include "model/application/application_xmi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <filesystem>
#include <format>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>

#include "model/application/application_table.h"
#include "model/application/application_yaml.h"
#include "model/application/uml_profile.h"
#include "model/application/xml_adapter.h"
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

// As much as a file of YAML may hold, with names as long as they may be.
TEST(ApplicationXmi, TheLargestApplicationIsReadAgainAsItWas) {
  std::string yaml = "application: large\ncomponents:\n";
  const std::string tail(40, 'x');
  for (int i = 0; i < 50; ++i) {
    yaml += std::format("- {{name: c{}-{}, command: [/a], provides: [", i, tail);
    for (int j = 0; j < 60; ++j) yaml += std::format("{}{{name: i{}-{}-{}}}", j == 0 ? "" : ",", i, j, tail);
    yaml += "]}\n";
  }
  const auto application = read_application(yaml, "large");
  ASSERT_TRUE(application.has_value()) << application.error().message();
  ASSERT_GT(yaml.size(), kMaxApplicationBytes / 2);
  expect_same(*application);
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

// --- What is refused ---

constexpr std::string_view kGoodStart =
    R"(<xmi:XMI xmlns:xmi="http://www.omg.org/spec/XMI/20131001" xmlns:uml="http://www.eclipse.org/uml2/5.0.0/UML" xmlns:p="https://perdure.dev/uml/1">
<uml:Model xmi:id="m" name="shop">
<packagedElement xmi:type="uml:Component" xmi:id="db" name="db"><interfaceRealization xmi:id="r" contract="sql"/></packagedElement>
<packagedElement xmi:type="uml:Interface" xmi:id="sql" name="sql"/>
)";
constexpr std::string_view kGoodEnd = R"(</uml:Model>
<p:Component base_Component="db" command="/db"/>
</xmi:XMI>
)";

std::string refusal(std::string_view xmi) { return testing::refusal_of(read_application_xmi(xmi, "app"), "app"); }

std::string with(std::string_view more) { return std::string(kGoodStart) + std::string(more) + std::string(kGoodEnd); }

TEST(ApplicationXmi, TableOfBadModels) {
  EXPECT_EQ(refusal(with("")), "accepted");
  const auto cases = testing::read_refusal_cases(PERDURE_MODEL_DIR "/testdata/xmi_refusals.txt", kGoodStart);
  ASSERT_GT(cases.size(), 30u);
  for (const testing::RefusalCase& bad : cases) {
    EXPECT_EQ(refusal(bad.document), bad.expected) << bad.title << "\n" << bad.document;
  }
}

TEST(ApplicationXmi, WhatIsTooLargeIsRefusedInTime) {
  const auto repeated = [](std::string_view text, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) all += text;
    return all;
  };
  EXPECT_EQ(refusal(std::string(kMaxXmiBytes + 1, ' ')), "1:1: the model has 8388609 bytes; shorten it to 8388608");
  EXPECT_TRUE(refusal(repeated("<a>", 100'000) + repeated("</a>", 100'000)).ends_with("nested deeper than 64 levels; no model needs that"));
  EXPECT_TRUE(refusal(with(repeated("<a b=''/>", 150'000))).contains("more than 200000 elements and attributes"));
  EXPECT_TRUE(refusal(with(repeated("<packagedElement xmi:type='uml:Component' name='c'/>", 600))).contains("more than 512 components"));
  // Each of these would be the square of what is there.
  const std::string usages = repeated("<packagedElement xmi:type='uml:Usage' client='db' supplier='sql'/>\n", 20'000);
  EXPECT_TRUE(refusal(with(usages)).contains("'db' has more than 512 relations and ports"));
  const std::string suppliers = "<packagedElement xmi:type='uml:Usage' client='db' supplier='" + repeated("sql ", 200'000) + "'/>";
  EXPECT_TRUE(refusal(with(suppliers)).contains("'supplier' refers to more than 512 elements"));
  const std::string ports = repeated("<ownedAttribute xmi:type='uml:Port' type='c'/>", 600);
  const std::string component = "<packagedElement xmi:type='uml:Component' name='x'>" + ports + "</packagedElement>";
  EXPECT_TRUE(refusal(with("<packagedElement xmi:type='uml:Class' xmi:id='c'/>" + repeated(component, 60) +
                           repeated("<packagedElement xmi:type='uml:Usage' client='c' supplier='sql'/>", 20'000)))
                  .contains("has more than 512 relations and ports"));
  std::string many = std::string(kGoodStart);
  for (int i = 0; i < 200; ++i) many += std::format("<packagedElement xmi:type='uml:Node' xmi:id='n{}'/>", i);
  many += "</uml:Model>";
  for (int i = 0; i < 200; ++i) many += std::format("<p:Container base_Node='n{}' components='{}'/>", i, repeated("db ", 500));
  EXPECT_TRUE(refusal(many + "</xmi:XMI>").contains("this is too much for one application"));
  EXPECT_TRUE(refusal(std::string(kGoodStart) + "</uml:Model><p:Component base_Component='db'>" + repeated("<x/>", 150'000) + "</p:Component></xmi:XMI>")
                  .ends_with("149980 more errors"));
  const std::string bomb = "<volumes>{a: &amp;x [" + repeated("1, ", 900) + "1], b: [" + repeated("*x, ", 10) + "*x]}</volumes>";
  EXPECT_TRUE(refusal(std::string(kGoodStart) + "<packagedElement xmi:type='uml:Node' xmi:id='n' name='n'/></uml:Model>"
                      "<p:Container base_Node='n' components='db'>" + repeated(bomb, 900) + "</p:Container></xmi:XMI>")
                  .contains("is one value too many for one application"));
}

// --- The profile ---

// Of all that a file of YAML may say, UML draws some and the stereotypes say the rest.
TEST(UmlProfile, HasAnAttributeForEveryKeyThatIsNotDrawn) {
  std::size_t attributes = 0;
  for (const UmlStereotype& stereotype : uml_profile()) {
    std::set<std::string> names = {"components"};
    for (const UmlAttribute& one : stereotype.attributes) {
      EXPECT_TRUE(names.insert(one.name).second) << stereotype.name << "." << one.name;
    }
    attributes += stereotype.attributes.size();
  }
  std::size_t keys = 0;
  for (const SpecKey& key : all_application_keys()) {
    // What is within the items of a list of maps.
    const std::string_view path = std::string_view(key.path).substr(std::min(key.path.size(), key.path.find("[].") + 3));
    const bool item = path.contains("[].") && !path.starts_with("provides[].") && !path.starts_with("requires[].");
    const bool drawn = key.path == "application" || key.path == "components" || key.path == "containers" ||
                       key.path.ends_with("[].name") || key.path.ends_with("].provides") || key.path.ends_with("].requires") ||
                       key.path.ends_with("].interface") || key.path == "containers[].components" || key.path.ends_with("].probe");
    if (!item && !drawn) ++keys;
  }
  EXPECT_EQ(attributes, keys);
  const auto& component = stereotype_of(StereotypeKind::kComponent).attributes;
  EXPECT_TRUE(std::ranges::contains(component, "probeMaxAge", &UmlAttribute::name));
  EXPECT_TRUE(std::ranges::contains(stereotype_of(StereotypeKind::kProvidedInterface).attributes, "stateSensitivity", &UmlAttribute::name));
}

void expect_up_to_date(const std::string& path, const std::string& text) {
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(path) << text;
  EXPECT_EQ(contents(path), text) << "run model_test with PERDURE_UPDATE_DOCS=1";
}

TEST(UmlProfile, FileIsUpToDate) { expect_up_to_date(PERDURE_EXAMPLES_DIR "/uml/perdure.profile.uml", uml_profile_xmi()); }

// Whatever it refers to is in it.
TEST(UmlProfile, EveryReferenceOfTheFileLeadsSomewhere) {
  const XmlDocument document = parse_xml(uml_profile_xmi());
  ASSERT_TRUE(document.complete && document.issues.empty());
  std::set<std::string> ids;
  std::vector<std::string> references;
  const auto walk = [&](const auto& self, const XmlElement& element) -> void {
    for (const XmlAttribute& one : element.attributes) {
      if (one.name == "id") {
        EXPECT_TRUE(ids.insert(one.value).second) << one.value;
      }
      const bool refers = one.name == "memberEnd" || one.name == "association" || one.name == "references" ||
                          one.name == "metaclassReference" || one.name == "annotatedElement" || (one.name == "type" && one.space.empty());
      std::istringstream words(refers ? one.value : "");
      for (std::string word; words >> word;) references.push_back(word);
    }
    for (const XmlElement& child : element.children) self(self, child);
  };
  walk(walk, document.root);
  ASSERT_GT(references.size(), 100u);
  for (const std::string& reference : references) EXPECT_TRUE(ids.contains(reference)) << reference;
}

}  // namespace
}  // namespace perdure::model
