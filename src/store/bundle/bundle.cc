// libarchive reads and writes the formats; which members there may be, and how long they are, the manifest says alone.
// The order matters: the manifest comes first, so that nothing is unpacked on the word of somebody unknown.
#include "store/bundle/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <set>

#include "codec/signature.h"
#include "store/models/files.h"

namespace tidelock {
namespace {

constexpr std::size_t kBlockBytes = 64u << 10;

std::string said(archive* a) {
  const char* text = archive_error_string(a);
  return text == nullptr ? "cannot be read" : text;
}

}  // namespace

Result<BundleFormat> bundle_format_of(const std::string& path) {
  if (path.ends_with(".zip")) return BundleFormat::kZip;
  if (path.ends_with(".tar")) return BundleFormat::kTar;
  return fail(Code::kInvalid, "bundle " + path + ": its name must end with .zip or .tar");
}

// ---------------------------------------------------------------------------------------------------------- writing

struct BundleWriter::Impl {
  std::string path, partial;
  Manifest manifest;
  archive* out = nullptr;
  archive_entry* entry = nullptr;
  int fd = -1;
  std::size_t next = 0;    // file of the manifest
  std::uint64_t left = 0;  // bytes of the file before it

  ~Impl() {
    if (entry != nullptr) archive_entry_free(entry);
    if (out != nullptr) archive_write_free(out);
    if (fd >= 0) ::close(fd);
    if (!partial.empty()) ::unlink(partial.c_str());
  }
  Result<void> member(std::string_view name, std::uint64_t size) {
    archive_entry_clear(entry);
    archive_entry_set_pathname(entry, std::string(name).c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(size));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 315'532'800, 0);  // the same bytes each time: the first day that zip knows
    return checked(archive_write_header(out, entry) == ARCHIVE_OK);
  }
  Result<void> checked(bool good) {
    if (good) return {};
    return fail(files::error_of(archive_errno(out), "write", partial));
  }
};

BundleWriter::BundleWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BundleWriter::~BundleWriter() = default;

Result<std::unique_ptr<BundleWriter>> BundleWriter::create(const std::string& path, BytesView signed_manifest,
                                                           const Manifest& manifest) {
  const auto format = bundle_format_of(path);
  if (!format) return fail(format.error());
  if (::access(path.c_str(), F_OK) == 0) return fail(Code::kConflict, "bundle " + path + ": is there already");
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->manifest = manifest;
  const std::string partial = path + "." + std::to_string(::getpid()) + ".partial";
  impl->fd = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (impl->fd < 0) return fail(files::error_of(errno, "create", partial));
  impl->partial = partial;
  impl->out = archive_write_new();
  impl->entry = archive_entry_new();
  if (impl->out == nullptr || impl->entry == nullptr) return fail(Code::kUnavailable, "bundle " + path + ": no memory");
  bool good = true;
  if (*format == BundleFormat::kZip) {
    good = archive_write_set_format_zip(impl->out) == ARCHIVE_OK &&
           archive_write_set_format_option(impl->out, "zip", "compression", "store") == ARCHIVE_OK;  // weights: noise
  } else {
    good = archive_write_set_format_pax_restricted(impl->out) == ARCHIVE_OK;
  }
  good = good && archive_write_open_fd(impl->out, impl->fd) == ARCHIVE_OK;
  if (const auto ok = impl->checked(good); !ok) return fail(ok.error());
  if (const auto ok = impl->member(kBundleManifest, signed_manifest.size()); !ok) return fail(ok.error());
  const bool written = archive_write_data(impl->out, signed_manifest.data(), signed_manifest.size()) ==
                       static_cast<la_ssize_t>(signed_manifest.size());
  if (const auto ok = impl->checked(written); !ok) return fail(ok.error());
  return std::unique_ptr<BundleWriter>(new BundleWriter(std::move(impl)));
}

Result<void> BundleWriter::begin(const ManifestFile& file) {
  if (impl_->left > 0 || impl_->next >= impl_->manifest.files.size() || !(impl_->manifest.files[impl_->next] == file))
    return fail(Code::kInvalid, "bundle " + impl_->path + ": " + file.path + " is not what comes next");
  ++impl_->next;
  impl_->left = file.size_bytes;
  return impl_->member(file.path, file.size_bytes);
}

Result<void> BundleWriter::write(BytesView bytes) {
  if (bytes.size() > impl_->left) return fail(Code::kInvalid, "bundle " + impl_->path + ": more bytes than declared");
  const auto wrote = archive_write_data(impl_->out, bytes.data(), bytes.size());
  if (const auto ok = impl_->checked(wrote == static_cast<la_ssize_t>(bytes.size())); !ok) return ok;
  impl_->left -= bytes.size();
  return {};
}

Result<void> BundleWriter::finish() {
  if (impl_->left > 0 || impl_->next != impl_->manifest.files.size())
    return fail(Code::kInvalid, "bundle " + impl_->path + ": a file is missing or unfinished");
  if (const auto ok = impl_->checked(archive_write_close(impl_->out) == ARCHIVE_OK); !ok) return ok;
  if (const auto ok = files::sync_fd(impl_->fd, impl_->partial); !ok) return ok;
  // A link, not a rename: it fails where a file has come meanwhile.
  if (::link(impl_->partial.c_str(), impl_->path.c_str()) != 0) {
    if (errno == EEXIST) return fail(Code::kConflict, "bundle " + impl_->path + ": is there already");
    if (::rename(impl_->partial.c_str(), impl_->path.c_str()) != 0)  // a stick's file system may know no links
      return fail(files::error_of(errno, "rename", impl_->partial));
  }
  const std::string folder = std::filesystem::path(impl_->path).parent_path().string();
  return files::sync_folder(folder.empty() ? "." : folder);
}

// ---------------------------------------------------------------------------------------------------------- reading

struct BundleReader::Impl {
  std::string path;
  std::unique_ptr<files::Fd> fd;
  archive* in = nullptr;
  Bytes signed_manifest;
  Manifest manifest;
  bool used = false;

  ~Impl() {
    if (in != nullptr) archive_read_free(in);
  }
};

namespace {

tl::unexpected<Error> wrong(const std::string& path, const std::string& why) {
  return fail(Code::kCorrupt, "bundle " + path + ": " + why);
}

// The next member's name and, for a plain file, nothing wrong. nullopt at the end.
Result<std::optional<std::string>> next_member(archive* in, const std::string& path) {
  archive_entry* entry = nullptr;
  const int got = archive_read_next_header(in, &entry);
  if (got == ARCHIVE_EOF) return std::optional<std::string>{};
  if (got != ARCHIVE_OK) return wrong(path, said(in));
  const char* name = archive_entry_pathname(entry);
  const std::string text = name == nullptr ? "" : name;
  if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr ||
      archive_entry_symlink(entry) != nullptr || archive_entry_is_encrypted(entry) != 0)
    return wrong(path, "member '" + text.substr(0, kManifestPathBytesMax) + "' is no plain file");
  return std::optional<std::string>(text);
}

// At most `bytes_max` bytes of the member; one byte more is an error.
Result<std::uint64_t> read_member(archive* in, const std::string& path, const std::string& name,
                                  std::uint64_t bytes_max, const BundleReader::Sink& sink) {
  Bytes block(kBlockBytes, '\0');
  std::uint64_t total = 0;
  for (;;) {
    const auto got = archive_read_data(in, block.data(), block.size());
    if (got == 0) return total;
    if (got < 0) return wrong(path, "member '" + name + "': " + said(in));
    total += static_cast<std::uint64_t>(got);
    if (total > bytes_max)
      return wrong(path, "member '" + name + "' is longer than " + std::to_string(bytes_max) + " bytes");
    if (const auto ok = sink(BytesView(block.data(), static_cast<std::size_t>(got))); !ok) return fail(ok.error());
  }
}

}  // namespace

BundleReader::BundleReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BundleReader::~BundleReader() = default;
const Manifest& BundleReader::manifest() const { return impl_->manifest; }
const Bytes& BundleReader::signed_manifest() const { return impl_->signed_manifest; }

Result<std::unique_ptr<BundleReader>> BundleReader::open(const std::string& path, std::string_view public_pem) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  std::uint64_t size = 0;
  auto plain = files::open_plain(path, size);
  if (!plain) return fail(plain.error());
  impl->fd = std::make_unique<files::Fd>(std::move(*plain));
  impl->in = archive_read_new();
  if (impl->in == nullptr) return fail(Code::kUnavailable, "bundle " + path + ": no memory");
  // Nothing else is tried: no compression around it, no other format, no program that unpacks.
  archive_read_support_format_zip(impl->in);
  archive_read_support_format_tar(impl->in);
  if (archive_read_open_fd(impl->in, impl->fd->get(), kBlockBytes) != ARCHIVE_OK)
    return fail(Code::kInvalid, "bundle " + path + ": not a zip or tar: " + said(impl->in));
  const auto first = next_member(impl->in, path);
  if (!first) return fail(first.error());
  if (!*first || **first != kBundleManifest)
    return wrong(path, "its first member must be " + std::string(kBundleManifest) +
                           "; it is no bundle of `tidelock model export`");
  const auto read = read_member(impl->in, path, **first, kManifestBytesMax, [&](BytesView piece) -> Result<void> {
    impl->signed_manifest += piece;
    return {};
  });
  if (!read) return fail(read.error());
  auto manifest = open_manifest(impl->signed_manifest, public_pem);  // M4: the signature first
  if (!manifest) return fail(manifest.error().code, "bundle " + path + ": " + manifest.error().message);
  impl->manifest = std::move(*manifest);
  return std::unique_ptr<BundleReader>(new BundleReader(std::move(impl)));
}

Result<void> BundleReader::extract(const std::function<Result<Sink>(const ManifestFile&)>& begin,
                                   const std::function<Result<void>(const ManifestFile&)>& end) {
  if (std::exchange(impl_->used, true)) return fail(Code::kInvalid, "bundle " + impl_->path + ": extracted already");
  std::set<std::string> seen;
  for (;;) {
    const auto name = next_member(impl_->in, impl_->path);
    if (!name) return fail(name.error());
    if (!*name) break;
    const ManifestFile* file = find_file(impl_->manifest, **name);
    const std::string shown = (*name)->substr(0, kManifestPathBytesMax);
    if (file == nullptr) return wrong(impl_->path, "member '" + shown + "' is not in the manifest");
    if (!seen.insert(file->path).second) return wrong(impl_->path, "member '" + shown + "' comes twice");
    const auto sink = begin(*file);
    if (!sink) return fail(sink.error());
    Sha256 hasher;
    const auto size =
        read_member(impl_->in, impl_->path, file->path, file->size_bytes, [&](BytesView piece) -> Result<void> {
          hasher.update(piece);
          return (*sink)(piece);
        });
    if (!size) return fail(size.error());
    if (*size != file->size_bytes) {
      return wrong(impl_->path, "member '" + shown + "' has " + std::to_string(*size) + " bytes, the manifest says " +
                                    std::to_string(file->size_bytes));
    }
    if (hasher.finish() != file->sha256)
      return wrong(impl_->path, "member '" + shown + "' has other content than the manifest says");
    if (const auto ok = end(*file); !ok) return ok;
  }
  for (const ManifestFile& file : impl_->manifest.files)
    if (!seen.contains(file.path)) return wrong(impl_->path, "'" + file.path + "' is missing");
  return {};
}

Result<void> extract_bundle(BundleReader& bundle, const std::string& folder) {
  if (::mkdir(folder.c_str(), 0755) != 0) return fail(files::error_of(errno, "create folder", folder));
  std::unique_ptr<files::Fd> out;
  const auto path_of = [&](const ManifestFile& file) { return folder + "/" + file.path; };  // checked with the manifest
  return bundle.extract(
      [&](const ManifestFile& file) -> Result<BundleReader::Sink> {
        const std::string path = path_of(file);
        if (const auto ok = files::make_folders(std::filesystem::path(path).parent_path().string()); !ok)
          return fail(ok.error());
        out = std::make_unique<files::Fd>(
            ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
        if (out->get() < 0) return fail(files::error_of(errno, "create", path));
        return BundleReader::Sink([&, path](BytesView piece) { return files::write_all(out->get(), path, piece); });
      },
      [&](const ManifestFile& file) { return files::sync_fd(out->get(), path_of(file)); });
}

}  // namespace tidelock
