// Planning, applying and deleting applications, against a cluster that does what it is asked to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "cli/test_support.h"
#include "model/spec_yaml.h"

namespace perdure::cli {
namespace {

namespace v1 = control::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kShop = R"(application: shop
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.29/24], ipv4-gateway: 192.0.2.1}
components:
  - name: web
    command: [/web]
    artefact: {packages: [nginx]}
    provides: [{name: site, port: 80, protocol: http}]
    requires: [{interface: sql, delay-tolerance: 2ms, outage-tolerance: 5s}]
    mttf: 1000h
    recovery-time: 800ms
    replicas: 2
    resources: {memory: 256MiB, cpu: 0.5}
  - name: db
    command: [/db]
    artefact: {packages: [postgresql]}
    provides: [{name: sql, port: 5432, state: stateful, state-sensitivity: 500ms}]
    mttf: 5000h
    resources: {memory: 2GiB, cpu: 1}
)";

// Runs and removes containers; each is protected at once, its standbys are ready.
struct Cluster {
  std::map<std::string, v1::ContainerStatus> containers;
  std::map<std::string, std::string> specs;
  std::string id = "8c1f";
  std::vector<std::string> done;
  std::string fails;  // the container whose start fails
  bool move_fails = false;
  bool is_there_already = false;  // whoever is moved

  std::vector<v1::Response> answer(const v1::Request& request) {
    v1::Response response;
    switch (request.body_case()) {
      case v1::Request::kClusterStatus:
        response.mutable_cluster()->set_id(id);
        response.mutable_cluster()->set_has_quorum(true);
        add_node(*response.mutable_cluster(), "alpha", "r1");
        add_node(*response.mutable_cluster(), "beta", "r2");
        add_node(*response.mutable_cluster(), "gamma", "r2");
        add_node(*response.mutable_cluster(), "watcher", "").set_witness(true);
        break;
      case v1::Request::kVersion:
        response.mutable_version()->set_version("1");
        break;
      case v1::Request::kList:
        response.mutable_list();
        for (const auto& [name, status] : containers) *response.mutable_list()->add_containers() = status;
        break;
      case v1::Request::kInspect:
        *response.mutable_inspect()->mutable_status() = containers.at(request.inspect().name());
        response.mutable_inspect()->set_spec_yaml(specs.at(request.inspect().name()));
        break;
      case v1::Request::kImageAdd:
        response.mutable_image_add()->set_digest("sha256:" + std::string(64, image));
        break;
      case v1::Request::kRun:
        return {run(request.run())};
      case v1::Request::kMove:
        done.push_back("move " + request.move().name() + " " + request.move().node());
        if (move_fails) return {error_response(v1::ERROR_CONFLICT, "the node is full")};
        containers.at(request.move().name()).set_node(request.move().node());
        if (is_there_already) return {error_response(v1::ERROR_CONFLICT, "it is there already")};
        *response.mutable_move()->mutable_status() = containers.at(request.move().name());
        break;
      case v1::Request::kRemove:
        done.push_back("rm " + request.remove().name());
        containers.erase(request.remove().name());
        response.mutable_remove()->set_name(request.remove().name());
        break;
      default:
        return {error_response(v1::ERROR_UNSUPPORTED, "not here")};
    }
    return {response};
  }

  static v1::NodeRow& add_node(v1::ClusterReply& reply, const char* name, const char* rack) {
    v1::NodeRow& row = *reply.add_nodes();
    row.set_name(name);
    row.set_state(v1::NODE_READY);
    row.set_memory_bytes(std::uint64_t{8} << 30);
    row.set_processors(4);
    if (*rack != '\0') (*row.mutable_labels())["rack"] = rack;
    (*row.mutable_labels())["data-centre"] = "dc1";
    return row;
  }

  v1::Response run(const v1::RunRequest& run) {
    const auto spec = model::read_spec(run.spec_yaml(), "spec");
    EXPECT_TRUE(spec) << spec.error().message();
    const std::string name = spec->name.str();
    if (name == fails) return error_response(v1::ERROR_IO, "the disk is broken");
    done.push_back("run " + name + " " + run.node());
    EXPECT_GT(run.settle_ns(), 0);
    v1::ContainerStatus status = protected_web();
    status.set_name(name);
    status.set_node(run.node());
    status.set_application(spec->application.name.value_or(""));
    for (const std::string& sponsor : spec->application.sponsors) status.add_sponsors(sponsor);
    status.clear_addresses();
    if (spec->network.ipv4) status.add_addresses(model::to_string(*spec->network.ipv4));
    for (std::uint32_t i = 0; i < run.settled_standbys(); ++i) {
      v1::StandbyStatus& standby = *status.add_standbys();
      standby.set_node(run.node() == "alpha" ? "beta" : "alpha");
      standby.set_state(v1::STANDBY_READY);
    }
    containers[name] = status;
    specs[name] = run.spec_yaml();
    v1::Response response;
    *response.mutable_run()->mutable_status() = status;
    return response;
  }

  char image = '1';
};

struct ApplicationCommandsTest : testing::Test {
  ApplicationCommandsTest() {
    program.behaviour = [this](const v1::Request& request, int) { return cluster.answer(request); };
    path = std::filesystem::temp_directory_path() / std::format("perdure-shop-{}.yaml", ::getpid());
    write(kShop);
  }
  ~ApplicationCommandsTest() override { std::filesystem::remove(path); }
  void write(const std::string& text) const { std::ofstream(path) << text; }
  ExitCode run(std::vector<std::string> arguments) {
    program.terminal.out_text.clear();
    program.terminal.err_text.clear();
    cluster.done.clear();
    program.built.clear();
    for (std::string& argument : arguments) {
      if (argument == "FILE") argument = path.string();
    }
    return program.run(arguments);
  }
  std::string out() { return program.terminal.out_text; }
  std::string err() { return unfolded(program.terminal.err_text); }

  Cluster cluster;
  ProgramRun program;
  std::filesystem::path path;
};

TEST_F(ApplicationCommandsTest, PlanShowsPlacesAvailabilityAndFailures) {
  ASSERT_EQ(run({"plan", "FILE"}), ExitCode::kOk) << err();
  EXPECT_LE(widest_line(out()), 80);
  expect_golden("plan-shop.txt", out());
  EXPECT_THAT(cluster.done, IsEmpty());
  EXPECT_THAT(program.built, IsEmpty());
}

TEST_F(ApplicationCommandsTest, PlanInTheWordsOfOthersSaysWhatTheyLack) {
  ASSERT_EQ(run({"plan", "FILE", "--format", "kubernetes"}), ExitCode::kOk) << err();
  EXPECT_THAT(out(), testing::StartsWith("{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"List\""));
  EXPECT_THAT(err(), HasSubstr("note: 'shop-db': Kubernetes has no checkpoints"));
  ASSERT_EQ(run({"plan", "FILE", "--format", "nomad"}), ExitCode::kOk) << err();
  EXPECT_THAT(out(), HasSubstr("\"TaskGroups\""));
  ASSERT_EQ(run({"plan", "FILE", "--format", "json"}), ExitCode::kOk) << err();
  EXPECT_THAT(out(), HasSubstr("\"unavailability\""));
  EXPECT_THAT(err(), IsEmpty());
  EXPECT_EQ(run({"plan", "FILE", "--format", "hcl"}), ExitCode::kUsage);
}

TEST_F(ApplicationCommandsTest, ModelDrawShowsPlacesWhereItIsAskedTo) {
  ASSERT_EQ(run({"model", "draw", "FILE", "--placement"}), ExitCode::kOk) << err();
  expect_golden("draw-shop.svg", out());
  EXPECT_THAT(cluster.done, IsEmpty());
  cluster.id.clear();
  EXPECT_EQ(run({"model", "draw", "FILE", "--placement"}), ExitCode::kRefused);
  EXPECT_THAT(err(), HasSubstr("this host is in no cluster"));
}

TEST_F(ApplicationCommandsTest, ModelDrawAsksNobodyWithoutPlacement) {
  program.behaviour = [](const v1::Request&, int) { return std::vector{error_response(v1::ERROR_IO, "nobody is to be asked")}; };
  ASSERT_EQ(run({"model", "draw", "FILE"}), ExitCode::kOk) << err();
  EXPECT_THAT(out(), HasSubstr("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  EXPECT_THAT(out(), HasSubstr(">delay tolerance 2ms<"));
  EXPECT_THAT(out(), testing::Not(HasSubstr("alpha")));
}

TEST_F(ApplicationCommandsTest, ApplyStartsSponsorsFirstAndTheSecondTimeNothing) {
  ASSERT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  EXPECT_THAT(cluster.done, ElementsAre(HasSubstr("run shop-db "), HasSubstr("run shop-web-1 "), HasSubstr("run shop-web-2 ")));
  EXPECT_EQ(program.built.size(), 3U);
  EXPECT_THAT(program.built[0].packages, ElementsAre("postgresql"));
  const auto web = model::read_spec(cluster.specs.at("shop-web-1"), "spec").value();
  EXPECT_EQ(web.root_filesystem, model::RootFilesystem(model::ImageRoot{"sha256:" + std::string(64, '1')}));
  EXPECT_EQ(web.network.hosts.at(0).names, std::vector<std::string>{"db"});
  EXPECT_NE(cluster.containers.at("shop-web-1").node(), cluster.containers.at("shop-web-2").node());

  ASSERT_EQ(run({"diff", "FILE"}), ExitCode::kOk) << out();
  EXPECT_EQ(out(), "shop: nothing would change\n");
  ASSERT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  EXPECT_EQ(out(), "shop: as the model says; nothing was changed\n");
  EXPECT_THAT(cluster.done, IsEmpty());
}

TEST_F(ApplicationCommandsTest, WithoutAgreementNothingIsDone) {
  EXPECT_EQ(run({"apply", "FILE"}), ExitCode::kRefused);
  EXPECT_THAT(cluster.done, IsEmpty());
  EXPECT_THAT(program.built, IsEmpty()) << "nor built";
  EXPECT_THAT(err(), HasSubstr("+ shop-db: start it on"));
}

TEST_F(ApplicationCommandsTest, WhatChangedIsSaidAndMadeAnew) {
  ASSERT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  std::string changed = kShop;
  write(changed.replace(changed.find("[/db]"), 5, "[/db, -v]"));
  EXPECT_EQ(run({"diff", "FILE"}), ExitCode::kUnprotected);
  EXPECT_THAT(unfolded(out()), HasSubstr("! shop-db: remove it from"));
  EXPECT_THAT(unfolded(out()), HasSubstr("with its memory, its files and its generations, and start it anew on"));
  EXPECT_THAT(unfolded(out()), HasSubstr("changed: components"));
  EXPECT_THAT(out(), testing::Not(HasSubstr("shop-web")));
  ASSERT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  EXPECT_THAT(cluster.done, ElementsAre("rm shop-db", HasSubstr("run shop-db ")));
}

TEST_F(ApplicationCommandsTest, ANewImageIsAChange) {
  ASSERT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  cluster.image = '2';
  EXPECT_EQ(run({"diff", "FILE"}), ExitCode::kUnprotected);
  EXPECT_THAT(unfolded(out()), HasSubstr("changed: root-filesystem.image"));
}

TEST_F(ApplicationCommandsTest, AFailedStepNamesTheContainerAndStops) {
  cluster.fails = "shop-db";
  EXPECT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kFailure);
  EXPECT_THAT(err(), HasSubstr("shop-db: the disk is broken"));
  EXPECT_THAT(err(), HasSubstr("run 'perdure apply' again to go on"));
  EXPECT_THAT(cluster.done, IsEmpty()) << "its dependants are not started";
  cluster.fails.clear();
  EXPECT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk);
}

TEST_F(ApplicationCommandsTest, WhoeverWentThereByItselfNeedsNoMove) {
  ASSERT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  const std::string node = cluster.containers.at("shop-web-1").node();
  cluster.containers.at("shop-web-2").set_node(node);  // replicas are kept apart
  cluster.move_fails = true;
  EXPECT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kRefused);
  EXPECT_THAT(err(), HasSubstr("the node is full"));
  cluster.move_fails = false;
  cluster.is_there_already = true;
  EXPECT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  EXPECT_THAT(cluster.done, ElementsAre(HasSubstr("move shop-web-")));
  EXPECT_THAT(out(), HasSubstr(": moved to "));
}

TEST_F(ApplicationCommandsTest, DeleteBeginsWithTheDependants) {
  ASSERT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  v1::ContainerStatus other = protected_web();
  other.set_node("alpha");
  cluster.containers["web"] = other;
  EXPECT_EQ(run({"delete", "shop"}), ExitCode::kRefused);
  EXPECT_THAT(err(), HasSubstr("Removes 3 containers of application shop"));
  EXPECT_THAT(cluster.done, IsEmpty());
  ASSERT_EQ(run({"delete", "shop", "--yes"}), ExitCode::kOk) << err();
  EXPECT_THAT(cluster.done, ElementsAre("rm shop-web-2", "rm shop-web-1", "rm shop-db"));
  EXPECT_TRUE(cluster.containers.contains("web"));
  EXPECT_EQ(run({"delete", "shop", "--yes"}), ExitCode::kNotFound);
}

TEST_F(ApplicationCommandsTest, StatusShowsTheComponentsOfOneApplication) {
  ASSERT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kOk) << err();
  v1::ContainerStatus& db = cluster.containers.at("shop-db");
  for (const char* name : {"db", "archiver"}) {
    v1::ComponentStatus& component = *db.add_components();
    component.set_name(name);
    component.set_state(v1::COMPONENT_RUNNING);
  }
  cluster.containers["foreign"] = protected_web();
  ASSERT_EQ(run({"status", "shop"}), ExitCode::kOk) << err();
  expect_golden("status-shop.txt", out());
  EXPECT_EQ(run({"status", "nothing"}), ExitCode::kNotFound);
}

TEST_F(ApplicationCommandsTest, ImagesAreBuiltWithoutAnyNode) {
  program.behaviour = [](const v1::Request&, int) { return std::vector{error_response(v1::ERROR_IO, "nobody is to be asked")}; };
  ASSERT_EQ(run({"image", "build", "FILE"}), ExitCode::kOk) << err();
  EXPECT_EQ(program.built.size(), 3U);
  EXPECT_THAT(out(), testing::StartsWith("shop-web-1 "));
  EXPECT_THAT(out(), HasSubstr(" /var/cache/perdure/layouts/1/oci\n"));
}

TEST_F(ApplicationCommandsTest, AHostInNoClusterIsToldWhatToDo) {
  cluster.id.clear();
  EXPECT_EQ(run({"plan", "FILE"}), ExitCode::kRefused);
  EXPECT_THAT(err(), HasSubstr("'perdure cluster init' makes one"));
}

TEST_F(ApplicationCommandsTest, WhatCannotBePlacedIsRefusedWithAllReasons) {
  write("application: shop\ncomponents:\n  - {name: a, command: [/a], resources: {memory: 99GiB}}\n"
        "  - {name: b, command: [/b], resources: {memory: 99GiB}}\n");
  EXPECT_EQ(run({"apply", "FILE", "--yes"}), ExitCode::kInvalid);
  EXPECT_THAT(err(), HasSubstr("'shop-a' has no place"));
  EXPECT_THAT(err(), HasSubstr("'shop-b' has no place"));
}

}  // namespace
}  // namespace perdure::cli
