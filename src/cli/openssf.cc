#include "cli/openssf.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <vector>

#include "codec/signature.h"
#include "store/models/files.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 1u << 20;
constexpr std::size_t kNamedMax = 5;  // files in one message

struct OpenssfOptions {
  std::string model, key_file, signature_file;
};

struct Found {
  SignedFiles files;
  std::uint64_t bytes = 0;
};

std::string usual_signature(const std::string& model) {
  std::error_code error;
  return fs::is_directory(model, error) ? (fs::path(model) / kModelSigningFile).string() : model + ".sig";
}

// What signers leave out unless they are told otherwise.
std::vector<std::string> usually_ignored() {
  return {kModelSigningFile, ".git", ".gitattributes", ".github", ".gitignore"};
}

Result<Bytes> hash_file(const std::string& path, std::uint64_t& bytes) {
  std::uint64_t size = 0;
  const auto fd = files::open_plain(path, size);
  if (!fd) return fail(fd.error());
  Sha256 hasher;
  for (std::uint64_t at = 0; at < size;) {
    const auto piece = files::read_at(fd->get(), path, at, kPieceBytes);
    if (!piece) return fail(piece.error());
    if (piece->empty()) return fail(Code::kUnavailable, path + ": became shorter while it was read");
    hasher.update(*piece);
    at += piece->size();
  }
  bytes += size;
  return hasher.finish();
}

// Every file of a folder, or the one that `model` is.
Result<Found> find_files(const std::string& model, std::vector<std::string> ignored) {
  Found found;
  found.files.ignored = std::move(ignored);
  std::error_code error;
  const fs::path whole = fs::absolute(model, error).lexically_normal();
  found.files.name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  if (!fs::is_directory(model, error)) {
    auto digest = hash_file(model, found.bytes);
    if (!digest) return fail(digest.error());
    found.files.files.push_back({".", std::move(*digest)});
    return found;
  }
  std::vector<std::string> paths;
  fs::recursive_directory_iterator entries(model, error);
  for (; !error && entries != fs::end(entries); entries.increment(error)) {
    const std::string path = entries->path().lexically_relative(model).generic_string();
    if (is_ignored(found.files, path)) {
      entries.disable_recursion_pending();
      continue;
    }
    std::error_code unreadable;
    const fs::file_status status = entries->symlink_status(unreadable);
    if (fs::is_directory(status)) continue;
    if (!fs::is_regular_file(status))
      return fail(Code::kInvalid, model + "/" + path + ": neither a plain file nor a folder; only those can be signed");
    paths.push_back(path);
    if (paths.size() > kModelSigningFilesMax)
      return fail(Code::kInvalid, model + ": more than " + std::to_string(kModelSigningFilesMax) + " files");
  }
  if (error) return fail(Code::kUnavailable, model + ": " + error.message());
  std::sort(paths.begin(), paths.end());
  for (std::string& path : paths) {
    auto digest = hash_file(model + "/" + path, found.bytes);
    if (!digest) return fail(digest.error());
    found.files.files.push_back({std::move(path), std::move(*digest)});
  }
  return found;
}

// kDenied with what differs; `may_lack` says which files of the list need not be there.
template <class MayLack>
Result<void> compare(const SignedFiles& found, const SignedFiles& list, const MayLack& may_lack) {
  std::map<std::string_view, const Bytes*> expected;
  for (const auto& file : list.files) expected.emplace(file.path, &file.sha256);
  std::vector<std::string> wrong;
  for (const auto& file : found.files) {
    const auto at = expected.find(file.path);
    if (at == expected.end()) {
      wrong.push_back(file.path + " was not signed");
      continue;
    }
    if (*at->second != file.sha256) wrong.push_back(file.path + " has other bytes than were signed");
    expected.erase(at);
  }
  for (const auto& [path, digest] : expected) {
    if (!may_lack(path)) wrong.push_back(std::string(path) + " was signed and is missing");
  }
  if (wrong.empty()) return {};
  std::string why = "not the model that was signed: ";
  for (std::size_t i = 0; i < std::min(wrong.size(), kNamedMax); ++i) why += (i == 0 ? "" : "; ") + wrong[i];
  if (wrong.size() > kNamedMax) why += "; and " + std::to_string(wrong.size() - kNamedMax) + " more";
  return fail(Code::kDenied, std::move(why));
}

std::string so_much(const Found& found) {
  const std::size_t files = found.files.files.size();
  return std::to_string(files) + (files == 1 ? " file, " : " files, ") + std::to_string(found.bytes) + " bytes";
}

int sign(const Common& common, OpenssfOptions options) {
  const auto key = read_file(options.key_file);
  if (!key) return report(common, Error{Code::kInvalid, "--key " + key.error().message, {}, 0});
  std::error_code error;
  const bool one_file = !fs::is_directory(options.model, error);
  if (options.signature_file.empty()) options.signature_file = usual_signature(options.model);
  auto ignored = usually_ignored();
  const std::string out = fs::path(options.signature_file).lexically_relative(options.model).generic_string();
  if (!one_file && !out.empty() && !out.starts_with("..") &&
      std::find(ignored.begin(), ignored.end(), out) == ignored.end())
    ignored.push_back(out);
  const auto found = find_files(options.model, one_file ? std::vector<std::string>{} : ignored);
  if (!found) return report(common, found.error());
  const auto bundle = sign_model_files(found->files, *key);
  if (!bundle) {
    return report(common, bundle.error(),
                  "a key on P-256 is made by: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "
                  "openssf.pem");
  }
  if (const auto ok = write_file(options.signature_file, *bundle, 0644); !ok) return report(common, ok.error());
  return done(common,
              {{"signature", options.signature_file},
               {"model", found->files.name},
               {"files", found->files.files.size()},
               {"bytes", found->bytes}},
              found->files.name + ": " + so_much(*found) + " signed in " + options.signature_file);
}

int verify(const Common& common, const OpenssfOptions& options) {
  const auto list = read_openssf(options.model, options.signature_file, options.key_file);
  if (!list) return report(common, list.error());
  auto ignored = list->ignored;
  const std::string at = options.signature_file.empty()
                             ? kModelSigningFile
                             : fs::path(options.signature_file).lexically_relative(options.model).generic_string();
  ignored.push_back(at);  // it cannot speak of itself
  const auto found = find_files(options.model, std::move(ignored));
  if (!found) return report(common, found.error());
  if (const auto same = compare(found->files, *list, [](std::string_view) { return false; }); !same)
    return report(common, same.error());
  std::string left_out;
  for (const std::string& path : list->ignored) left_out += (left_out.empty() ? "" : ", ") + path;
  return done(common,
              {{"model", list->name},
               {"files", found->files.files.size()},
               {"bytes", found->bytes},
               {"ignored", list->ignored}},
              list->name + ": as it was signed: " + so_much(*found) +
                  (left_out.empty() ? "" : "; its signer left out " + left_out));
}

}  // namespace

Result<SignedFiles> read_openssf(const std::string& folder, const std::string& signature_file,
                                 const std::string& key_file) {
  const auto key = read_file(key_file);
  if (!key) return fail(Code::kInvalid, "the OpenSSF key: " + key.error().message);
  const std::string path = signature_file.empty() ? usual_signature(folder) : signature_file;
  const auto bundle = files::read_all(path, kModelSigningBytesMax);
  if (!bundle) return fail(bundle.error());
  auto list = verify_model_signing(*bundle, *key);
  if (!list) return fail(list.error().code, path + ": " + list.error().message);
  return list;
}

Result<void> is_signed(const Manifest& release, const SignedFiles& list) {
  SignedFiles found;
  for (const ManifestFile& file : release.files) {
    if (file.path != kModelSigningFile) found.files.push_back({file.path, file.sha256});
  }
  return compare(found, list, [](std::string_view path) {
    return path.starts_with('.') || path.find("/.") != std::string_view::npos;
  });
}

void add_openssf(CLI::App& model, const Common& common, int& exit_code) {
  const auto options = std::make_shared<OpenssfOptions>();
  auto* openssf = model.add_subcommand(
      "openssf", "signatures in the format of OpenSSF Model Signing, for those who share models with other tools");
  openssf->require_subcommand(1);
  auto* sign_command = openssf->add_subcommand("sign", "list and sign the files of a model; no hub is asked");
  sign_command->footer(
      "The key is on the curve P-256, P-384 or P-521: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 "
      "-out openssf.pem\n"
      "example: tidelock model openssf sign detector-2.0.0/ --key openssf.pem");
  sign_command->add_option("model", options->model, "a folder, or one file")->required();
  sign_command->add_option("--key", options->key_file, "private key (PEM)")->required();
  sign_command->add_option("--out", options->signature_file, "the signature (default: FOLDER/model.sig or FILE.sig)");
  sign_command->callback([options, &common, &exit_code] { exit_code = sign(common, *options); });
  auto* verify_command = openssf->add_subcommand("verify", "check the files of a model against such a signature");
  verify_command->footer("example: tidelock model openssf verify detector-2.0.0/ --key openssf.pub.pem");
  verify_command->add_option("model", options->model, "a folder, or one file")->required();
  verify_command->add_option("--key", options->key_file, "public key (PEM)")->required();
  verify_command->add_option("--signature", options->signature_file,
                             "where it lies (default: FOLDER/model.sig or FILE.sig)");
  verify_command->callback([options, &common, &exit_code] { exit_code = verify(common, *options); });
}

}  // namespace tidelock
