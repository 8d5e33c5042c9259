#include "cli/model_files.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>

#include "cli/edge_link.h"
#include "cli/model_care.h"
#include "cli/openssf.h"
#include "codec/archive.h"
#include "codec/signature.h"
#include "protocol/admin.h"
#include "store/bundle/bundle.h"
#include "store/models/release.h"

namespace tidelock {
namespace {

constexpr int kPatienceMs = 3'600'000;  // while the hub brings files to its object store

struct ModelFilesOptions {
  std::string folder, name, version, key_file, bundle, public_key_file;
  std::string openssf_key_file, openssf_signature_file;
  std::string tolerance;  // empty: the manifest's default
  EdgePlace place;
};

void progress_bar(const std::string& what, std::uint64_t sent, std::uint64_t total) {
  static const bool terminal = ::isatty(2) == 1;
  if (!terminal) return;
  const int width = 30;
  const int filled = total == 0 ? width : static_cast<int>(sent * width / total);
  std::fprintf(stderr, "\r%-28.28s [%s%s] %3d %%", what.c_str(),
               std::string(static_cast<std::size_t>(filled), '#').c_str(),
               std::string(static_cast<std::size_t>(width - filled), ' ').c_str(),
               total == 0 ? 100 : static_cast<int>(sent * 100 / total));
  if (sent >= total) std::fputc('\n', stderr);
}

// M4: what gateways cannot check, and the publisher may not have noticed. Nothing when there is a golden case.
std::string golden_warning(const Manifest& manifest) {
  if (!manifest.golden.empty()) return {};
  return manifest.name + " " + manifest.version +
         " has no golden case: a gateway will call it staged when it loads, whatever it answers; add "
         "golden/CASE/input.TENSOR.AxBxC.f32 and golden/CASE/output.TENSOR.AxBxC.f32 to the folder";
}
void warn_of_golden(const Common& common, const Manifest& manifest) {
  const std::string warning = golden_warning(manifest);
  if (!common.json && !warning.empty()) std::cerr << "tidelock: warning: " << warning << "\n";
}
Json with_golden(Json json, const Manifest& manifest) {
  json["golden_cases"] = manifest.golden.size();
  if (const std::string warning = golden_warning(manifest); !warning.empty()) json["warning"] = warning;
  return json;
}

// M2: the files to the hubs, then the manifest into the ledger.
int bring(const Common& common, const std::string& folder, const Manifest& manifest, const Bytes& signed_manifest) {
  warn_of_golden(common, manifest);
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  (*cluster)->learn();  // every hub shall have the files
  for (const ManifestFile& file : manifest.files) {
    const auto sent = (*cluster)->upload(folder + "/" + file.path, file.sha256, file.size_bytes,
                                         [&](const NodeId& hub, std::uint64_t bytes) {
                                           progress_bar(file.path + " to " + hub, bytes, file.size_bytes);
                                         });
    if (!sent) return report(common, sent.error());
  }
  std::string said;
  const auto answer = (*cluster)->ask_patiently(PublishModel{manifest.name, manifest.version, signed_manifest},
                                                kPatienceMs, [&](const std::string& busy) {
                                                  if (std::exchange(said, busy) != busy && ::isatty(2) == 1)
                                                    std::fprintf(stderr, "%s\n", busy.c_str());
                                                });
  if (!answer) return report(common, answer.error());
  if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  return done(common,
              with_golden({{"index", answer->index.value},
                           {"name", manifest.name},
                           {"version", manifest.version},
                           {"bytes", manifest_files_bytes(manifest)}},
                          manifest),
              manifest.name + " " + manifest.version + " published at index " + std::to_string(answer->index.value) +
                  "; next: tidelock model stage " + manifest.name + " " + manifest.version);
}

Result<Release> signed_release(const ModelFilesOptions& options) {
  const auto key = read_file(options.key_file);
  if (!key) return fail(Code::kInvalid, "--key " + key.error().message);
  std::optional<SignedFiles> list;
  if (!options.openssf_key_file.empty()) {
    auto read = read_openssf(options.folder, options.openssf_signature_file, options.openssf_key_file);
    if (!read) return fail(read.error());
    list = std::move(*read);
  }
  std::optional<std::uint32_t> tolerance;
  if (!options.tolerance.empty()) {
    const auto parsed = parse_tolerance(options.tolerance);
    if (!parsed) return fail(parsed.error().code, "--tolerance: " + parsed.error().message);
    tolerance = *parsed;
  }
  auto release = build_release(options.folder, options.name, options.version, *key, {}, tolerance);
  if (!release || !list) return release;
  if (const auto same = is_signed(release->manifest, *list); !same) return fail(same.error());
  return release;
}

int publish(const Common& common, const ModelFilesOptions& options) {
  const auto release = signed_release(options);
  if (!release) return report(common, release.error());
  return bring(common, options.folder, release->manifest, encode(release->signed_manifest));
}

// What a build machine lays into the bucket of `models.watch_s`: no hub is asked, and none need be reached.
int sign(const Common& common, const ModelFilesOptions& options) {
  const auto release = signed_release(options);
  if (!release) return report(common, release.error());
  warn_of_golden(common, release->manifest);
  const std::string inbox = options.bundle + "/inbox/" + options.name + "/" + options.version;
  std::error_code error;
  std::filesystem::create_directories(options.bundle + "/blobs", error);
  if (!error) std::filesystem::create_directories(inbox, error);
  for (const ManifestFile& file : release->manifest.files) {
    if (error) break;
    std::filesystem::copy_file(options.folder + "/" + file.path, options.bundle + "/blobs/" + to_hex(file.sha256),
                               std::filesystem::copy_options::overwrite_existing, error);
  }
  if (error) return report(common, Error{Code::kBusy, options.bundle + ": " + error.message(), {}, 0});
  if (const auto ok = write_file(inbox + "/" + std::string(kBundleManifest), encode(release->signed_manifest), 0644);
      !ok)
    return report(common, ok.error());
  return done(common,
              with_golden({{"dir", options.bundle},
                           {"name", options.name},
                           {"version", options.version},
                           {"bytes", manifest_files_bytes(release->manifest)}},
                          release->manifest),
              options.name + " " + options.version + " signed into " + options.bundle +
                  "; next: copy what is in it below models.prefix of the bucket, blobs first");
}

Result<Bytes> published_manifest(Operator& cluster, const ModelFilesOptions& options) {
  const auto answer = cluster.ask(ReadKey{model_version_key(options.name, options.version)});
  if (!answer) return fail(answer.error());
  if (answer->code != Code::kOk && answer->code != Code::kNotFound) return fail(answer->code, answer->message);
  if (answer->value) return *answer->value;
  return fail(Code::kNotFound, "model '" + options.name + "' has no published version '" + options.version +
                                   "'; `tidelock model list` shows what there is");
}

int export_bundle(const Common& common, const ModelFilesOptions& options) {
  const auto key = read_file(options.public_key_file);
  if (!key) return report(common, Error{Code::kInvalid, "--model-key " + key.error().message, {}, 0});
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto signed_manifest = published_manifest(**cluster, options);
  if (!signed_manifest) return report(common, signed_manifest.error());
  const auto manifest = open_manifest(*signed_manifest, *key);
  if (!manifest)
    return report(common, manifest.error(), "is --model-key the public key that the model was signed for?");
  auto bundle = BundleWriter::create(options.bundle, *signed_manifest, *manifest);
  if (!bundle) return report(common, bundle.error());
  for (const ManifestFile& file : manifest->files) {
    if (const auto ok = (*bundle)->begin(file); !ok) return report(common, ok.error());
    Sha256 hasher;
    std::uint64_t taken = 0;
    const auto got = (*cluster)->download(file.sha256, file.size_bytes, [&](BytesView piece) -> Result<void> {
      hasher.update(piece);
      taken += piece.size();
      progress_bar(file.path, taken, file.size_bytes);
      return (*bundle)->write(piece);
    });
    if (!got) return report(common, got.error());
    if (hasher.finish() != file.sha256)
      return report(common,
                    Error{Code::kCorrupt, file.path + ": the hubs gave other bytes than the manifest says", {}, 0});
  }
  if (const auto ok = (*bundle)->finish(); !ok) return report(common, ok.error());
  return done(common,
              {{"bundle", options.bundle},
               {"name", options.name},
               {"version", options.version},
               {"files", manifest->files.size()},
               {"bytes", manifest_files_bytes(*manifest)}},
              options.name + " " + options.version + ": " + std::to_string(manifest->files.size()) + " files, " +
                  std::to_string(manifest_files_bytes(*manifest)) + " bytes in " + options.bundle);
}

int import_bundle(const Common& common, const ModelFilesOptions& options) {
  if (options.place.given()) return import_into_edge(common, options.place, options.bundle);
  if (options.public_key_file.empty()) {
    return report(common, Error{Code::kInvalid,
                                "where to? give --model-key and --config client.toml to bring it to the hubs, or "
                                "--run-dir of an edge on this machine, which has the key",
                                {},
                                0});
  }
  const auto key = read_file(options.public_key_file);
  if (!key) return report(common, Error{Code::kInvalid, "--model-key " + key.error().message, {}, 0});
  auto bundle = BundleReader::open(options.bundle, *key);
  if (!bundle) return report(common, bundle.error(), "nothing was brought to the hubs");
  std::error_code error;
  std::string folder = (std::filesystem::temp_directory_path(error) / "tidelock-import-XXXXXX").string();
  if (error || ::mkdtemp(folder.data()) == nullptr) {
    return report(common, Error{Code::kBusy, folder + ": cannot be made; TMPDIR says where there is room", {}, 0});
  }
  const auto out = extract_bundle(**bundle, folder + "/release");
  const int code = out ? bring(common, folder + "/release", (*bundle)->manifest(), (*bundle)->signed_manifest())
                       : report(common, out.error(), "nothing was brought to the hubs");
  std::filesystem::remove_all(folder, error);
  return code;
}

void add_openssf_options(CLI::App& command, ModelFilesOptions& options) {
  auto* key = command.add_option("--openssf-key", options.openssf_key_file,
                                 "take only what this public key (PEM) signed by OpenSSF Model Signing");
  command.add_option("--openssf-signature", options.openssf_signature_file, "where (default: FOLDER/model.sig)")
      ->needs(key);
}

void add_tolerance_option(CLI::App& command, ModelFilesOptions& options) {
  command.add_option("--tolerance", options.tolerance,
                     "golden outputs may differ by this times max(1, |expected|): 0.000001 to 1 (default: 0.001)");
}

}  // namespace

void add_model_files(CLI::App& model, const Common& common, int& exit_code) {
  const auto options = std::make_shared<ModelFilesOptions>();
  auto* publish_command =
      model.add_subcommand("publish", "sign a release folder and bring it to the hubs; nobody is affected");
  publish_command->footer(
      "example: tidelock --config client.toml model publish detector-2.0.0/ --name detector --version 2.0.0 --key "
      "model-key.pem");
  publish_command->add_option("folder", options->folder, "model.onnx, labels.txt, golden/...")->required();
  publish_command->add_option("--name", options->name)->required();
  publish_command->add_option("--version", options->version)->required();
  publish_command->add_option("--key", options->key_file, "private signing key (PEM)")->required();
  add_tolerance_option(*publish_command, *options);
  add_openssf_options(*publish_command, *options);
  publish_command->callback([options, &common, &exit_code] { exit_code = publish(common, *options); });
  auto* sign_command =
      model.add_subcommand("sign", "sign a release folder for a bucket that the hubs watch; no hub is asked");
  sign_command->footer(
      "Then copy what is in DIR below models.prefix of the bucket; with models.watch_s the hubs publish it.\n"
      "example: tidelock model sign detector-2.0.0/ --name detector --version 2.0.0 --key model-key.pem --out upload");
  sign_command->add_option("folder", options->folder, "model.onnx, labels.txt, golden/...")->required();
  sign_command->add_option("--name", options->name)->required();
  sign_command->add_option("--version", options->version)->required();
  sign_command->add_option("--key", options->key_file, "private signing key (PEM)")->required();
  sign_command->add_option("--out", options->bundle, "DIR for blobs/ and inbox/")->required();
  add_tolerance_option(*sign_command, *options);
  add_openssf_options(*sign_command, *options);
  sign_command->callback([options, &common, &exit_code] { exit_code = sign(common, *options); });
  auto* export_command =
      model.add_subcommand("export", "write a published version into one file, for a stick: the same proofs, no link");
  export_command->footer(
      "example: tidelock --config client.toml model export detector 2.0.0 --out detector-2.0.0.zip --model-key "
      "model-key.pub.pem");
  export_command->add_option("name", options->name)->required();
  export_command->add_option("version", options->version)->required();
  export_command->add_option("--out", options->bundle, "FILE.zip or FILE.tar, made anew")->required();
  export_command->add_option("--model-key", options->public_key_file, "public signing key (PEM)")->required();
  export_command->callback([options, &common, &exit_code] { exit_code = export_bundle(common, *options); });
  auto* import_command = model.add_subcommand(
      "import", "check such a file against the signing key and bring it to the hubs, as publish does; or to one edge");
  import_command->footer(
      "To an edge it brings the bytes, for a link that is slow or dead: the edge checks signature and hashes with its\n"
      "own key, and keeps the files until a pointer names the version, or `model gc --imported`. That proves nothing\n"
      "by itself: staging it checks everything again, and costs no file bytes on the link.\n"
      "example: tidelock --config client.toml model import detector-2.0.0.zip --model-key model-key.pub.pem\n"
      "example: tidelock model import /media/stick/detector-2.0.0.zip --run-dir /run/tidelock/edge-1");
  import_command->add_option("bundle", options->bundle, "FILE.zip or FILE.tar")->required();
  import_command->add_option("--model-key", options->public_key_file, "public signing key (PEM); for the hubs");
  add_edge_place(*import_command, options->place);
  import_command->callback([options, &common, &exit_code] { exit_code = import_bundle(common, *options); });
}

}  // namespace tidelock
