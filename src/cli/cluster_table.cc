// The command table, continued: a cluster, its nodes, and moves between them.
#include <array>

#include "cli/command_parts.h"
#include "cli/command_table.h"

namespace perdure::cli {
namespace {

using enum ValueKind;

constexpr Argument kTheNode{kNodeArgument, kNode, true,
                            "The node, as 'perdure node list' names it."};
constexpr std::array kNodeOnly{kTheNode};

// init, join
constexpr Option kOwnName{kNodeNameOption, 0, "NAME", kNode,
                          "Name this node so, instead of as its host up to the first dot."};
constexpr Option kListen{kListenOption,
                         0,
                         "ADDRESS",
                         kText,
                         "Where other nodes reach this one: 192.0.2.1, or with another port "
                         "192.0.2.1:7400; may be repeated, the first is what others connect to. "
                         "Without it, the address of the default route.",
                         true};
constexpr Option kOwnLabel{
    kLabelOption,
    0,
    "KEY=VALUE",
    kLabel,
    "A label of this node; may be repeated. data-centre, rack and server say "
    "what fails together: standbys are placed apart.",
    true};
constexpr Option kEtcdAuthority{kEtcdAuthorityOption, 0, "FILE", kFile,
                                "The certificate authority of that etcd."};
constexpr Option kEtcdCertificate{kEtcdCertificateOption, 0, "FILE", kFile,
                                  "The certificate to show to that etcd."};
constexpr Option kEtcdKey{kEtcdKeyOption, 0, "FILE", kFile, "The key of that certificate."};
constexpr std::array kInitOptions{
    kOwnName,
    kListen,
    kOwnLabel,
    Option{kDurableDirectoryOption, 0, "DIR", kFile,
           "A directory that all nodes share (GlusterFS, NFS, CephFS), for durable generations; "
           "without it each node keeps its own."},
    Option{kStandbysOption, 0, "N", kCount,
           "Standbys of a container whose specification says nothing."},
    Option{kTimingOption, 0, "TIMING", kTiming,
           "How fast a dead node is noticed: default, fast, or HEARTBEAT,GRANT,MARGIN; 'perdure "
           "help cluster timing' explains them."},
    Option{kEtcdOption, 0, "URL", kText,
           "An etcd that is there already (https://192.0.2.9:2379) instead of one that perdured "
           "runs; may be repeated, one for each member.",
           true},
    kEtcdAuthority,
    kEtcdCertificate,
    kEtcdKey,
    kYes,
    kJson};
constexpr std::array kInitExamples{
    Example{"perdure cluster init --label rack=r1",
            "Make a cluster whose first node is this host."},
    Example{"perdure cluster init --listen 10.1.0.1 --durable-directory /mnt/shared --yes",
            "Other nodes reach it in another network, and all share a directory."}};
constexpr std::array kJoinArguments{Argument{
    kAddressArgument, kText, true, "Of any node of the cluster: 192.0.2.1, or 192.0.2.1:7400."}};
constexpr std::array kJoinOptions{
    Option{kTokenOption, 0, "TOKEN", kText,
           "The token that 'perdure cluster token' printed. Every user of this host can see it in "
           "the list of processes while the command runs; --token-file keeps it out of there."},
    Option{kTokenFileOption, 0, "FILE", kFile,
           "Read the token from this file; - reads standard input. Without either option the token "
           "is asked for on the terminal."},
    kOwnName,
    kListen,
    kOwnLabel,
    Option{kWitnessOption, 0, "", kFlag,
           "Run no containers here: this node only keeps a copy of what etcd holds, so that two "
           "others survive the loss of one."},
    Option{kEtcdAuthorityOption, 0, "FILE", kFile,
           "For a cluster that uses an etcd of its own: the certificate authority of that etcd."},
    kEtcdCertificate,
    kEtcdKey,
    kYes,
    kJson};
constexpr std::array kJoinExamples{
    Example{"perdure cluster join 192.0.2.1 --label rack=r2", "Ask for the token, then join."},
    Example{"perdure cluster join 192.0.2.1 --token-file - --yes < token",
            "Join without a question; the token was put into a file."}};

// leave, token, recover
constexpr std::array kLeaveOptions{
    Option{kForceOption, 'f', "", kFlag,
           "Also while this node owns containers: they run on here, in no cluster."},
    kYes, kJson};
constexpr std::array kTokenOptions{
    Option{kValidForOption, 0, "DURATION", kDuration, "How long it can be used."},
    Option{kUsesOption, 0, "N", kCount, "How many nodes may join with it."}, kJson};
constexpr std::array kRecoverArguments{Argument{
    kNameArgument, kContainer, false, "Only these containers; without a name, all of them.", true}};
constexpr std::array kRecoverOptions{
    Option{kApplyOption, 0, "", kFlag, "Do it; without this nothing is changed."},
    Option{kForceNewClusterOption, 0, "", kFlag,
           "The other members of etcd are lost for good: this node's goes on alone."},
    Option{kFromSnapshotOption, 0, "FILE", kFile,
           "Make etcd anew from this snapshot, on the host of perdured."},
    kYes, kJson};
constexpr std::array kRecoverExamples{
    Example{"perdure cluster recover", "After a power cut of all nodes: what would come back."},
    Example{"perdure cluster recover --force-new-cluster --apply",
            "Two of three managers are gone for good: go on with this one."},
    Example{"perdure cluster recover --apply web db", "Bring back these two."}};

// timing
constexpr std::array kTimingArguments{
    Argument{kTimingArgument, kTiming, false,
             "default (50ms,250ms,50ms), fast (20ms,80ms,20ms), or HEARTBEAT,GRANT,MARGIN; without "
             "it nothing is changed."}};
constexpr std::array kTimingExamples{
    Example{"perdure cluster timing", "What is in force, and what it means."},
    Example{"perdure cluster timing fast", "On a LAN whose hosts answer within milliseconds."},
    Example{"perdure cluster timing 200ms,1s,100ms", "Nodes that are far apart, or busy."}};

// node, move, takeover
constexpr std::array kTakeoverOptions{
    Option{kToOption, 0, "NODE", kNode,
           "Where it is to run, instead of on the node that holds its newest generation."},
    Option{kForceOption, 'f', "", kFlag,
           "You know that the owner's node runs it no more: it is switched off, or what is left "
           "there may be killed."},
    kYes, kJson};
constexpr std::array kTakeoverExamples{
    Example{"perdure takeover web", "Say what would come back and what is risked, then ask."},
    Example{"perdure takeover web --force --yes", "The owner's host is dead: bring it back now."}};
constexpr std::array kNodeRemoveOptions{
    Option{kForceOption, 'f', "", kFlag,
           "Also while it can be reached or owns containers. It must not run them any more: switch "
           "it off first."},
    kYes, kJson};
constexpr std::array kNodeLabelArguments{
    kTheNode, Argument{kLabelArgument, kLabelChange, true,
                       "A label to set; KEY- takes it away. Several may be given.", true}};
constexpr std::array kNodeLabelExamples{
    Example{"perdure node label node-b rack=r2 server-", "Set one label, take another away."}};
constexpr std::array kMoveArguments{kName,
                                    Argument{kNodeArgument, kNode, true, "Where it is to run."}};
constexpr std::array kMoveExamples{
    Example{"perdure move web node-b", "Connections go on; nothing is rolled back."}};

constexpr std::array kClusterCommands{
    Command{
        .id = CommandId::kClusterInit,
        .name = "cluster init",
        .summary = "make a cluster whose first node is this host",
        .description =
            "Makes the cluster's certificate authority and its keys, starts etcd, and opens the "
            "ports 7400 to 7402 (7400 with another etcd) to other nodes, which must show a "
            "certificate of this cluster. The containers of this host become the cluster's and "
            "go on running. Says so and asks; prints the command that joins the next node.\n"
            "One node works, and two do, but with two the loss of the one that holds etcd stops "
            "all changes of ownership: add a third node, or a witness.",
        .arguments = {},
        .options = kInitOptions,
        .examples = kInitExamples,
        .json = "cluster"},
    Command{.id = CommandId::kClusterJoin,
            .name = "cluster join",
            .summary = "make this host a node of a cluster",
            .description =
                "The token says who may join and whom to trust: it holds the fingerprint of the "
                "cluster's certificate authority. Opens the ports 7400 to 7402 to other nodes. The "
                "first three nodes, and every witness, become managers: they hold the authority's "
                "key and, unless another etcd is used, a member of etcd.",
            .arguments = kJoinArguments,
            .options = kJoinOptions,
            .examples = kJoinExamples,
            .json = "cluster"},
    Command{.id = CommandId::kClusterLeave,
            .name = "cluster leave",
            .summary = "take this host out of its cluster",
            .description =
                "Refused while this node owns containers: 'perdure node drain' moves them "
                "away first. Its member of etcd is removed, its certificate revoked, and "
                "what it held for others is deleted. Says so and asks.",
            .arguments = {},
            .options = kLeaveOptions,
            .examples = {},
            .json = "cluster"},
    Command{.id = CommandId::kClusterStatus,
            .name = "cluster status",
            .summary = "show the cluster: quorum, keys, nodes, and what is not as it should be",
            .description =
                "Exits with code 8 if there is no quorum: containers go on running and "
                "being checkpointed, but nothing can change its owner. The table is that "
                "of 'perdure node list'.",
            .arguments = {},
            .options = kJsonOnly,
            .examples = {},
            .json = "cluster"},
    Command{.id = CommandId::kClusterToken,
            .name = "cluster token",
            .summary = "make a token with which a node may join",
            .description = "Prints the command for the node that is to join. Whoever has the token "
                           "can become a node, and nodes hold the memory of containers: keep it "
                           "secret until it is used or out of date.",
            .arguments = {},
            .options = kTokenOptions,
            .examples = {},
            .json = "token"},
    Command{.id = CommandId::kClusterRotateKeys,
            .name = "cluster rotate-keys",
            .summary = "encrypt stored generations with a new key from now on",
            .description = "Done every 30 days without being asked. What is stored already stays "
                           "readable: old keys are kept.",
            .arguments = {},
            .options = kYesAndJson,
            .examples = {},
            .json = "cluster"},
    Command{
        .id = CommandId::kClusterRecover,
        .name = "cluster recover",
        .summary = "say what would come back after a disaster, and bring it back",
        .description =
            "For what the cluster does not do by itself: the quorum of etcd is lost for good, "
            "all nodes lost power at once, or etcd was restored from a backup. Without --apply "
            "it changes nothing: for each container it says which generation would come back, "
            "on which node, its age, and the risk. With --apply it shows the same, asks, and "
            "does it; exits with code 1 if that failed for a container.\n"
            "ACTION is nothing (it is as it should be), adopt_running (it runs on NODE, and is "
            "recorded so), restore (GENERATION comes back on NODE), cold_start (no generation is "
            "left: it starts afresh) or lost (nothing is left of it that can be reached).",
        .arguments = kRecoverArguments,
        .options = kRecoverOptions,
        .examples = kRecoverExamples,
        .json = "recover"},
    Command{
        .id = CommandId::kClusterTiming,
        .name = "cluster timing",
        .summary = "show or change how fast the cluster notices a dead node",
        .description =
            "An owner sends a heartbeat to its standbys every HEARTBEAT. Each answer is a grant: "
            "for GRANT the owner may go on speaking. After GRANT and MARGIN in silence a standby "
            "takes over, so this is the time to notice a dead node. Shorter means a shorter "
            "outage, and that a network or a host which stands still for longer is taken for "
            "dead: a container then falls silent for a moment, loses a standby, or is taken over.\n"
            "A change holds for the whole cluster from now on; it is safe while containers run, "
            "whichever node learns of it first.",
        .arguments = kTimingArguments,
        .options = kJsonOnly,
        .examples = kTimingExamples,
        .json = "cluster"},
    Command{
        .id = CommandId::kNodeList,
        .name = "node list",
        .summary = "show the nodes, what they run and what they stand by for",
        .description =
            "* marks the node that answers. OWNS counts the containers that run there, STANDS BY "
            "those whose newest generations it holds, HELD the memory and disk these take. "
            "Columns that do not fit the terminal are left out, the least important first; "
            "--json has them all.",
        .arguments = {},
        .options = kJsonOnly,
        .examples = {},
        .json = "node list"},
    Command{.id = CommandId::kNodeDrain,
            .name = "node drain",
            .summary = "move all containers away from a node, for maintenance",
            .description = "Cordons the node and moves its containers one after the other. Says so "
                           "and asks; exits with code 1 if a container could not be moved. "
                           "'perdure node uncordon' ends it; nothing is moved back.",
            .arguments = kNodeOnly,
            .options = kYesAndJson,
            .examples = {},
            .json = "drain"},
    Command{.id = CommandId::kNodeCordon,
            .name = "node cordon",
            .summary = "let a node take no new containers and standbys",
            .description = "What it has stays.",
            .arguments = kNodeOnly,
            .options = kJsonOnly,
            .examples = {},
            .json = "node list"},
    Command{.id = CommandId::kNodeUncordon,
            .name = "node uncordon",
            .summary = "let a node take containers and standbys again",
            .description = "",
            .arguments = kNodeOnly,
            .options = kJsonOnly,
            .examples = {},
            .json = "node list"},
    Command{.id = CommandId::kNodeRemove,
            .name = "node remove",
            .summary = "take a node that is gone for good out of the cluster",
            .description = "Its certificates are revoked, its member of etcd is removed, and no "
                           "container counts on it as a standby any more. A node that still runs "
                           "leaves by itself: 'perdure cluster leave'. Says so and asks.",
            .arguments = kNodeOnly,
            .options = kNodeRemoveOptions,
            .examples = {},
            .json = "node list"},
    Command{.id = CommandId::kNodeLabel,
            .name = "node label",
            .summary = "set and take away labels of a node",
            .description = "data-centre, rack and server are the domains that fail together. "
                           "Standbys that are there already stay where they are.",
            .arguments = kNodeLabelArguments,
            .options = kJsonOnly,
            .examples = kNodeLabelExamples,
            .json = "node list"},
    Command{.id = CommandId::kMove,
            .name = "move",
            .summary = "move a running container to another node",
            .description =
                "With memory, files, address and open connections; clients see a pause of "
                "a fraction of a second. If it fails, the container goes on where it was.",
            .arguments = kMoveArguments,
            .options = kJsonOnly,
            .examples = kMoveExamples,
            .json = "move"},
    Command{
        .id = CommandId::kTakeover,
        .name = "takeover",
        .summary = "bring back a container whose owner is gone and that nobody takes over",
        .description =
            "For what does not happen by itself: the owner's node cannot be reached, and no "
            "standby of its record can either, because it was dropped, has died as well, or had "
            "not caught up yet. 'perdure inspect' says so. The newest generation that any node "
            "which can be reached holds in memory, or that the durable directory has, comes back; "
            "what the container did since is lost.\n"
            "Run it on any node that can be reached. It says which generation would come back and "
            "what is risked, and asks: an owner that is only cut off runs the container on until "
            "it reads the record; then it kills its copy and offers itself as a standby. Refused "
            "while the owner is connected, unless with --force; while a standby can take over by "
            "itself; and without a quorum.",
        .arguments = kNameOnly,
        .options = kTakeoverOptions,
        .examples = kTakeoverExamples,
        .json = "takeover"},
};

}  // namespace

std::span<const Command> cluster_command_table() {
  return kClusterCommands;
}

}  // namespace perdure::cli
