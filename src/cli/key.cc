// How the subcommands are called, and what their help teaches.

#include "cli/key.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/key_commands.h"

namespace tidelock {
namespace {

CLI::Option* each(CLI::Option* option) { return option->allow_extra_args(false); }  // one value for one flag

void add_root(CLI::App& key, const std::shared_ptr<KeyOptions>& o, const Common& common, int& exit_code) {
  auto* root = key.add_subcommand("root", "the file that says who signs what; its keys are kept offline");
  root->require_subcommand(1);
  auto* init = root->add_subcommand("init", "make the first root, not signed yet");
  init->footer(
      "A gateway that was given this root follows only what these keys sign. Three people with a threshold of two can\n"
      "lose one key, and be robbed of one, without harm. Snapshot and timestamp keys may lie on a machine that is on.\n"
      "example: tidelock key root init --domain city --threshold 2 --key ann.pub.pem --key bob.pub.pem --key "
      "eve.pub.pem\n"
      "         --snapshot ci.pub.pem --timestamp timer.pub.pem --namespace 'camera*=vision.pub.pem' --out "
      "root-1.trust");
  init->add_option("--domain", o->domain, "the publisher's name; files of another domain are refused")->required();
  init->add_option("--threshold", o->threshold, "how many root keys must sign")->capture_default_str();
  each(init->add_option("--key", o->keys, "public key of one who signs roots; once for each"))->required();
  each(init->add_option("--snapshot", o->snapshot_keys, "public key that signs snapshots"))->required();
  each(init->add_option("--timestamp", o->timestamp_keys, "public key that signs timestamps"))->required();
  each(init->add_option("--namespace", o->namespaces, "PATTERN=PUBLIC-KEY: who signs releases of models of that name"));
  init->add_option("--days", o->days, "until it expires")->check(CLI::Range(1, 3'650))->capture_default_str();
  init->add_option("--note", o->note, "why, for those who sign");
  init->add_option("--out", o->out, "file to make")->required();
  init->callback([o, &common, &exit_code] { exit_code = key_root_init(common, *o); });

  auto* sign = root->add_subcommand("sign", "add a signature to a root, in place");
  sign->footer(
      "Read it first: tidelock key show root-2.trust\n"
      "A root that follows another needs enough keys of both; --previous says who those are.\n"
      "example: tidelock key root sign root-1.trust --key ann.pem\n"
      "example: tidelock key root sign root-2.trust --previous root-1.trust --key bob.pem");
  sign->add_option("file", o->file, "the root")->required();
  each(sign->add_option("--key", o->keys, "private key"))->required();
  sign->add_option("--previous", o->previous, "the root before this one");
  sign->callback([o, &common, &exit_code] { exit_code = key_root_sign(common, *o); });

  auto* renew = root->add_subcommand("renew", "the next root, with the same keys and a later expiry");
  renew->footer("example: tidelock key root renew --root root-1.trust --days 365 --out root-2.trust");
  renew->add_option("--root", o->root, "the root that is trusted now")->required();
  renew->add_option("--days", o->days, "until it expires")->check(CLI::Range(1, 3'650))->capture_default_str();
  renew->add_option("--note", o->note, "why, for those who sign");
  renew->add_option("--out", o->out, "file to make")->required();
  renew->callback([o, &common, &exit_code] { exit_code = key_root_renew(common, *o); });
}

void add_catalogue(CLI::App& key, const std::shared_ptr<KeyOptions>& o, const Common& common, int& exit_code) {
  const auto root = [o](CLI::App* command) {
    command->add_option("--root", o->root, "the root that is trusted now")->required();
  };
  const auto rest = [o](CLI::App* command) {
    each(command->add_option("--key", o->keys, "private key; once for each who signs"))->required();
    command->add_option("--out", o->out, "file to make; the version follows the one that lies there")->required();
  };
  const auto days = [](CLI::App* command, std::uint64_t& count) {
    command->add_option("--days", count, "until it expires")->check(CLI::Range(1, 3'650))->capture_default_str();
  };
  auto* targets = key.add_subcommand("targets", "sign which releases of a namespace may be installed");
  targets->footer(
      "Releases of the file that lies at --out stay, unless withdrawn: that is how a bad version is taken back.\n"
      "example: tidelock key targets --root root-1.trust --namespace 'camera*' --release camera:2.0.0=camera-2.0.0/\n"
      "         --publisher model-key.pem --key vision.pem --out camera.trust\n"
      "example: tidelock key targets --root root-1.trust --namespace 'camera*' --withdraw camera:2.0.0 --key "
      "vision.pem\n"
      "         --out camera.trust");
  root(targets);
  targets->add_option("--namespace", o->name_space, "its pattern in the root")->required();
  each(targets->add_option("--release", o->releases, "NAME:VERSION=FOLDER to allow"));
  targets->add_option("--publisher", o->publisher, "private key with which `model publish` signs the manifest");
  targets->add_option("--tolerance", o->tolerance, "as given to `model publish`: the manifest carries it");
  each(targets->add_option("--withdraw", o->withdrawn, "NAME:VERSION to allow no longer"));
  days(targets, o->targets_days);
  rest(targets);
  targets->callback([o, &common, &exit_code] { exit_code = key_targets(common, *o); });

  auto* snapshot = key.add_subcommand("snapshot", "sign which targets files belong together: the whole catalogue");
  snapshot->footer(
      "example: tidelock key snapshot --root root-1.trust --targets camera.trust --targets lidar.trust --key ci.pem\n"
      "         --out snapshot.trust");
  root(snapshot);
  each(snapshot->add_option("--targets", o->targets, "targets file; one for each namespace"))->required();
  days(snapshot, o->snapshot_days);
  rest(snapshot);
  snapshot->callback([o, &common, &exit_code] { exit_code = key_snapshot(common, *o); });

  auto* timestamp = key.add_subcommand("timestamp", "sign that a snapshot is the newest, for a short time");
  timestamp->footer(
      "While gateways get none that is fresh, their catalogue counts as possibly old: have a timer make it.\n"
      "example: tidelock key timestamp --root root-1.trust --snapshot snapshot.trust --key timer.pem --hours 24\n"
      "         --out timestamp.trust");
  root(timestamp);
  timestamp->add_option("--snapshot", o->snapshot_file, "the snapshot")->required();
  timestamp->add_option("--hours", o->hours, "until it expires")->check(CLI::Range(1, 31 * 24))->capture_default_str();
  rest(timestamp);
  timestamp->callback([o, &common, &exit_code] { exit_code = key_timestamp(common, *o); });

  auto* sign = key.add_subcommand("sign", "add a signature to a targets, snapshot or timestamp file, in place");
  sign->footer("example: tidelock key sign camera.trust --root root-1.trust --key second.pem");
  sign->add_option("file", o->file, "the file")->required();
  root(sign);
  each(sign->add_option("--key", o->keys, "private key"))->required();
  sign->callback([o, &common, &exit_code] { exit_code = key_sign(common, *o); });
}

}  // namespace

void add_key(CLI::App& app, const Common& common, int& exit_code) {
  const auto o = std::make_shared<KeyOptions>();
  auto* key = app.add_subcommand("key", "keys of a publisher, and the files that say which models may be installed");
  key->require_subcommand(1);
  key->footer(
      "from nothing to a catalogue: new -> root init -> root sign -> targets -> snapshot -> timestamp -> verify -> "
      "push");

  auto* make = key->add_subcommand("new", "make an Ed25519 key pair: NAME.pem, for you alone, and NAME.pub.pem");
  make->footer("example: tidelock key new --out ann");
  make->add_option("--out", o->out, "path without the ending")->required();
  make->callback([o, &common, &exit_code] { exit_code = key_new(common, *o); });

  add_root(*key, o, common, exit_code);

  auto* turn = key->add_subcommand("rotate", "the next root, in which a role has other keys");
  turn->footer(
      "Give all keys that the role shall have. Versions of its files begin anew, and whatever the former keys signed "
      "is\n"
      "worth nothing, whichever version it claims: so a rotation also ends what a thief of a key has done.\n"
      "example: tidelock key rotate timestamp --root root-1.trust --key timer2.pub.pem --out root-2.trust\n"
      "example: tidelock key rotate root --root root-1.trust --threshold 2 --key ann.pub.pem --key bob.pub.pem\n"
      "         --key kim.pub.pem --out root-2.trust\n"
      "example: tidelock key rotate targets --namespace 'lidar*' --root root-1.trust --key lidar.pub.pem --out "
      "root-2.trust");
  turn->add_option("role", o->role, "root, snapshot, timestamp or targets")
      ->required()
      ->check(CLI::IsMember({"root", "snapshot", "timestamp", "targets"}));
  turn->add_option("--root", o->root, "the root that is trusted now")->required();
  each(turn->add_option("--key", o->keys, "public key; once for each"));
  turn->add_option("--threshold", o->threshold, "how many of them must sign")->capture_default_str();
  turn->add_option("--namespace", o->name_space, "targets: which; a pattern that is not there is added");
  turn->add_flag("--remove", o->remove, "targets: the namespace goes, and its models with it");
  turn->add_option("--days", o->days, "until the root expires")->check(CLI::Range(1, 3'650))->capture_default_str();
  turn->add_option("--note", o->note, "why, for those who sign");
  turn->add_option("--out", o->out, "file to make")->required();
  turn->callback([o, &common, &exit_code] { exit_code = key_rotate(common, *o); });

  add_catalogue(*key, o, common, exit_code);

  auto* look = key->add_subcommand("show", "say in plain words what a key or trust file holds");
  look->footer("example: tidelock key show root-1.trust");
  look->add_option("file", o->file, "*.pem or *.trust")->required();
  look->callback([o, &common, &exit_code] { exit_code = key_show(common, *o); });

  auto* check = key->add_subcommand("verify", "go the way that a gateway goes: which releases do these files allow?");
  check->footer(
      "The first --root is taken on your word, each further one must follow the one before.\n"
      "example: tidelock key verify --root root-1.trust --root root-2.trust --timestamp timestamp.trust\n"
      "         --snapshot snapshot.trust --targets camera.trust --targets lidar.trust");
  each(check->add_option("--root", o->roots, "roots, in order"))->required();
  check->add_option("--timestamp", o->timestamp_file, "the timestamp");
  check->add_option("--snapshot", o->snapshot_file, "the snapshot");
  each(check->add_option("--targets", o->targets, "targets file; one for each namespace"));
  check->callback([o, &common, &exit_code] { exit_code = key_verify(common, *o); });

  auto* push = key->add_subcommand("push", "bring trust files to the cluster: gateways follow them from then on");
  push->footer(
      "The hubs take the first root that is pushed on your word, and so do gateways that have none. After that only "
      "what\n"
      "follows is taken. From then on a gateway stages a release only while a fresh catalogue allows it.\n"
      "example: tidelock --config client.toml key push --root root-1.trust --timestamp timestamp.trust\n"
      "         --snapshot snapshot.trust --targets camera.trust --targets lidar.trust\n"
      "example: tidelock --config client.toml key push --timestamp timestamp.trust --snapshot snapshot.trust\n"
      "         --targets camera.trust --targets lidar.trust");
  each(push->add_option("--root", o->roots, "roots that the cluster does not have yet, in order"));
  push->add_option("--timestamp", o->timestamp_file, "the timestamp");
  push->add_option("--snapshot", o->snapshot_file, "the snapshot");
  each(push->add_option("--targets", o->targets, "targets file; one for each namespace"));
  push->callback([o, &common, &exit_code] { exit_code = key_push(common, *o); });
}

}  // namespace tidelock
