// Proves: what is said about a model of an application, and that it is read and written in its forms. None of it needs a daemon.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "cli/commands.h"
#include "cli/test_support.h"

namespace perdure::cli {
namespace {

class ModelCommandsTest : public testing::Test {
 protected:
  ExitCode run(const std::vector<std::string>& arguments) {
    terminal().out_text.clear();
    terminal().err_text.clear();
    return program_.run(arguments);
  }
  FakeTerminal& terminal() { return program_.terminal; }
  std::string out() { return terminal().out_text; }
  std::string err() { return terminal().err_text; }
  std::string file(const std::string& name, const std::string& text) {
    const auto path = test_directory() / name;
    std::ofstream(path) << text;
    return path.string();
  }

  ProgramRun program_;
};

TEST_F(ModelCommandsTest, CheckSaysWhatFollowsFromAModel) {
  const auto path = test_directory() / "shop.yaml";
  std::ofstream(path) << "application: shop\n"
                         "components:\n"
                         "  - {name: db, command: [/db], provides: [{name: sql, state: stateful, state-sensitivity: 500ms}]}\n"
                         "  - {name: cache, command: [/c], provides: [{name: keys, state: stateful}]}\n"
                         "  - name: web\n"
                         "    command: [/web]\n"
                         "    requires:\n"
                         "      - {interface: sql, delay-tolerance: 2ms, outage-tolerance: 5s}\n"
                         "      - {interface: keys}\n";
  ASSERT_EQ(run({"model", "check", path.string()}), ExitCode::kOk) << err();
  EXPECT_EQ(out(),
            "shop: the model is right\n"
            "\n"
            "COMPONENT  STATE      KEPT          RECOVERED           REQUIRES\n"
            "db         stateful   every 500 ms  with its container  -\n"
            "cache      stateful   every 1 s     with its container  -\n"
            "web        stateless  -             alone               db, 2 ms away, 5 s without it\n"
            "                                                        cache\n"
            "\n"
            "CONTAINER   STATE      COMPONENTS  HAS TO BE IN\n"
            "shop-db     stateful   db          -\n"
            "shop-cache  stateful   cache       -\n"
            "shop-web    stateless  web         the data-centre of shop-db\n");
  std::ofstream(path) << "application: shop\n"
                         "components:\n"
                         "  - {name: a, command: [/a], provides: [{name: a}]}\n"
                         "  - {name: b, command: [/b], requires: [{interface: a, delay-tolerance: 100us}]}\n";
  ASSERT_EQ(run({"model", "check", path.string()}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().ends_with("CONTAINER  STATE      COMPONENTS  HAS TO BE IN\n"
                              "shop-a     stateless  a, b        -\n"
                              "\n"
                              "shop-a: 'b' and 'a' bear 100 us at most\n"))
      << out();
  std::ofstream(path) << "application: shop\n"
                         "components:\n"
                         "  - {name: a, command: [/a], provides: [{name: a}]}\n"
                         "  - {name: b, command: [/b], requires: [{interface: a, delay-tolerance: 1us}]}\n";
  EXPECT_EQ(run({"model", "check", path.string()}), ExitCode::kInvalid);
  EXPECT_TRUE(unfolded(err()).contains("'b' and 'a' are to be within 1 us")) << err();
  std::ofstream(path) << "application: shop\ncomponents:\n  - {name: web, command: [/web], requires: [{interface: sql}]}\n";
  EXPECT_EQ(run({"model", "check", path.string()}), ExitCode::kInvalid);
  EXPECT_TRUE(unfolded(err()).contains("shop.yaml:3:57: components[0].requires[0].interface: nobody provides 'sql'")) << err();
  EXPECT_EQ(run({"model", "check", "/nonexistent/shop.yaml"}), ExitCode::kNotFound);
  EXPECT_EQ(run({"model", "schema"}), ExitCode::kOk);
  EXPECT_TRUE(out().contains("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\"")) << out();
  EXPECT_EQ(run({"model", "reference"}), ExitCode::kOk);
  EXPECT_TRUE(out().contains("components[].provides[].state-sensitivity"));
}

TEST_F(ModelCommandsTest, ConvertWritesAModelInAnotherForm) {
  const auto path = test_directory() / "shop";  // the form is not told by the name
  const std::string yaml = "application: shop\ncomponents:\n  - name: db\n    command:\n      - /db\n";
  std::ofstream(path) << yaml;
  ASSERT_EQ(run({"model", "convert", path.string(), "--to", "xmi"}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().contains("<perdure:Component xmi:id=\"_said_component.db\" base_Component=\"_component.db\">")) << out();
  const std::string drawing = (test_directory() / "shop.uml").string();
  ASSERT_EQ(run({"model", "convert", path.string(), "--to", "xmi", "--output", drawing}), ExitCode::kOk) << err();
  EXPECT_EQ(out(), "");
  ASSERT_EQ(run({"model", "check", drawing}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().contains("shop: the model is right\n"));
  ASSERT_EQ(run({"model", "convert", drawing, "--to", "yaml"}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().ends_with(yaml)) << out();
  ASSERT_EQ(run({"model", "convert", drawing, "--from", "xmi", "--to", "plantuml"}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().contains("component \"db\" as c1 <<stateless>>\n")) << out();
  ASSERT_EQ(run({"model", "profile"}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().contains("nsURI=\"https://perdure.dev/uml/1\""));
}

TEST_F(ModelCommandsTest, ConvertReplacesNothingUnlessToldTo) {
  const std::string path = (test_directory() / "a.yaml").string();
  const std::string there = (test_directory() / "b.yaml").string();
  std::ofstream(path) << "application: shop\ncomponents: [{name: db, command: [/db]}]\n";
  std::ofstream(there) << "mine\n";
  EXPECT_EQ(run({"model", "convert", path, "--to", "yaml", "-o", there}), ExitCode::kRefused);
  EXPECT_TRUE(unfolded(err()).contains("b.yaml' exists already; name another file, or replace it with --force")) << err();
  const auto contents = [&] {
    std::ifstream in(there);
    return std::string{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  };
  EXPECT_EQ(contents(), "mine\n");
  ASSERT_EQ(run({"model", "convert", path, "--to", "yaml", "-o", there, "--force"}), ExitCode::kOk) << err();
  EXPECT_TRUE(contents().starts_with("application: shop\n"));
  EXPECT_EQ(run({"model", "convert", path, "--to", "yaml", "-o", "/nonexistent/b"}), ExitCode::kNotFound);
  for (const auto& entry : std::filesystem::directory_iterator(test_directory())) {
    EXPECT_FALSE(entry.path().string().contains(".partial-")) << entry.path();
  }
}

TEST_F(ModelCommandsTest, DrawWritesAPicture) {
  const std::string path = file("a.yaml", "application: shop\ncomponents: [{name: db, command: [/db]}]\n");
  const std::string picture = (test_directory() / "a.svg").string();
  ASSERT_EQ(run({"model", "draw", path}), ExitCode::kOk) << err();
  const std::string shown = out();
  ASSERT_EQ(run({"model", "draw", path, "--output", picture}), ExitCode::kOk) << err();
  std::ifstream in(picture);
  EXPECT_EQ((std::string{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()}), shown);
  EXPECT_EQ(run({"model", "draw", path, "-o", picture}), ExitCode::kRefused);
  EXPECT_EQ(run({"model", "draw", path, "-o", picture, "--force"}), ExitCode::kOk) << err();
  EXPECT_EQ(run({"model", "draw", path, "--force"}), ExitCode::kUsage);
  const std::string torn = file("b.yaml",
                                "application: shop\n"
                                "components:\n"
                                "  - {name: a, command: [/a], provides: [{name: a}]}\n"
                                "  - {name: b, command: [/b], requires: [{interface: a, delay-tolerance: 1us}]}\n");
  EXPECT_EQ(run({"model", "draw", torn}), ExitCode::kInvalid);
  EXPECT_TRUE(unfolded(err()).contains("'b' and 'a' are to be within 1 us")) << err();
}

TEST_F(ModelCommandsTest, ConvertSaysWhatIsMissing) {
  const std::string path = (test_directory() / "a.yaml").string();
  std::ofstream(path) << "application: shop\ncomponents: [{name: db, command: [/db]}]\n";
  EXPECT_EQ(run({"model", "convert", path}), ExitCode::kUsage);
  EXPECT_TRUE(unfolded(err()).contains("give --to yaml, xmi or plantuml")) << err();
  EXPECT_EQ(run({"model", "convert", path, "--to", "yaml", "--force"}), ExitCode::kUsage);
  EXPECT_EQ(run({"model", "convert", path, "--to", "pdf"}), ExitCode::kUsage);
  EXPECT_TRUE(unfolded(err()).contains("'pdf' is none of yaml, xmi, plantuml")) << err();
  EXPECT_EQ(run({"model", "convert", path, "--from", "xmi", "--to", "yaml"}), ExitCode::kInvalid);
  EXPECT_TRUE(unfolded(err()).contains("a.yaml:1:1: no XML")) << err();
}

constexpr const char* kCompose =
    "name: shop\n"
    "x-ha: {images: images, network: {bridge: br0, addresses: [192.0.2.20-192.0.2.29/24]}}\n"
    "services:\n"
    "  web: {image: 'web:${TAG:-1}', entrypoint: [web], ports: ['80'], depends_on: [db], tty: true}\n"
    "  db: {image: db, expose: [5432], x-ha: {state: stateful}}\n"
    "  debug: {image: db, profiles: [debug]}\n";

TEST_F(ModelCommandsTest, AComposeFileIsAModelToo) {
  const std::string path = file("compose.yaml", kCompose);
  program_.compose.find_image = [](const model::OciRoot&) { return model::ComposeImage{.entrypoint = {"image-entry"}}; };
  ASSERT_EQ(run({"model", "check", path}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().starts_with("shop: the model is right\n")) << out();
  EXPECT_TRUE(unfolded(err()).contains("note: " + path + ":4:85: services.web.tty: there is no terminal")) << err();
  ASSERT_EQ(run({"model", "convert", path, "--to", "yaml"}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().contains("      - image-entry\n")) << out();
  EXPECT_TRUE(out().contains("      tag: \"1\"\n")) << out();
  EXPECT_FALSE(out().contains("name: debug"));
  EXPECT_EQ(run({"model", "check", path, "--from", "yaml"}), ExitCode::kUsage);
  EXPECT_EQ(run({"model", "convert", path, "--from", "yaml", "--to", "xmi"}), ExitCode::kInvalid);
}

TEST_F(ModelCommandsTest, VariablesAndProfilesOfAComposeFileAreGiven) {
  const std::string path = file("compose.yaml", kCompose);
  const std::string variables = file("other.env", "TAG=2\n");
  program_.compose.find_image = [](const model::OciRoot&) { return model::ComposeImage{.entrypoint = {"image-entry"}}; };
  ASSERT_EQ(run({"model", "convert", path, "--to", "yaml", "--env-file", variables, "--profile", "debug"}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().contains("      tag: \"2\"\n")) << out();
  EXPECT_TRUE(out().contains("name: debug"));
  program_.compose.environment = {{"TAG", "3"}};
  ASSERT_EQ(run({"model", "convert", path, "--to", "yaml", "--env-file", variables}), ExitCode::kOk) << err();
  EXPECT_TRUE(out().contains("      tag: \"3\"\n")) << out();
}

TEST_F(ModelCommandsTest, AnImageThatIsNotThereIsSaidWithHowToFetchIt) {
  const std::string path = file("compose.yaml", kCompose);
  program_.compose.find_image = [](const model::OciRoot& image) -> Result<model::ComposeImage> {
    return fail(ErrorCode::kNotFound, "no image layout at " + image.path);
  };
  EXPECT_EQ(run({"model", "check", path}), ExitCode::kInvalid);
  const std::string images = (test_directory() / "images").string();
  EXPECT_TRUE(unfolded(err()).contains("compose.yaml:5:3: services.db.command: what the image runs is not known: no image layout at " + images +
                                       "/db; fetch it ('skopeo copy docker://db oci:" + images + "/db:latest')"))
      << err();
}

}  // namespace
}  // namespace perdure::cli
