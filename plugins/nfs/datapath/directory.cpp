// SPDX-License-Identifier: Apache-2.0
// Directories are listed with READDIRPLUS, for the types of the entries or because the kernel wants their
// nodes and attributes, and with READDIR where the server has nothing else.
//
// The kernel takes attributes for as new as its question: what an answer has of entries for which it had no
// room would undo, when it is given out later, what writes and truncations have said meanwhile. So the
// server is asked for about as much as there is room for, and of what is left over only names are kept.
#include <algorithm>
#include <cerrno>
#include <gantry/gantry.hpp>

#include "plugins/nfs/datapath/convert.hpp"
#include "plugins/nfs/datapath/data_path.hpp"

namespace gantry::nfs {
namespace {

// Of a READDIRPLUS's answer.
constexpr uint32_t kPlusBytesMin = 2 * 1024;
constexpr uint32_t kPlusBytesMax = 32 * 1024;
// What an entry takes beside its name: of the host's room (gantry_fs_readdir), and of the answer beside its
// handle too (entryplus3 of RFC 1813). A server's handles are mostly of one size.
constexpr uint32_t kRoomOfEntryBytes = 160;
constexpr uint32_t kAnswerOfEntryBytes = 120;

uint32_t AnswerThatFits(uint32_t room_bytes, const FileHandle& directory) {
  const uint64_t bytes =
      uint64_t{room_bytes} / kRoomOfEntryBytes * (kAnswerOfEntryBytes + directory.size);
  return static_cast<uint32_t>(std::clamp<uint64_t>(bytes, kPlusBytesMin, kPlusBytesMax));
}

void Say(const DirEntry&, ListedName&) {}
void Say(const DirEntryPlus& entry, ListedName& name) {
  if (!entry.attributes) return;
  name.type = TypeBits(entry.attributes->type);
  if (entry.handle && name.name != "." && name.name != "..")
    name.told = {*entry.handle, *entry.attributes};
}

template <class Entry>
Listing ToListing(const FileHandle& directory, uint64_t after, ListReply<Entry> reply) {
  Listing listing{directory, after,     reply.verifier,
                  {},        reply.eof, std::chrono::steady_clock::now()};
  listing.names.reserve(reply.entries.size());
  for (Entry& entry : reply.entries) {
    ListedName& name = listing.names.emplace_back(
        ListedName{std::move(entry.name), entry.fileid, entry.cookie, 0, {}});
    Say(entry, name);
  }
  return listing;
}

bool Emit(const gantry_datapath_host& host, gantry_op op, const gantry_fs_entry& entry,
          const std::optional<Told>& told) {
  if (!told) return host.entry(host.ctx, op, &entry) != 0;
  const gantry_fs_attributes attributes = ToHost(told->attributes);
  const gantry_bytes node = {told->handle.bytes.data(), told->handle.size};
  return host.entry_plus(host.ctx, op, &entry, node, &attributes) != 0;
}

}  // namespace

void NfsDataPath::Readdir(gantry_op op, const gantry_fs_readdir& request) {
  BeginList(op, request, std::nullopt);
}

void NfsDataPath::ReaddirPlus(gantry_op op, const gantry_fs_readdir& request) {
  BeginList(op, request, request.room_bytes);
}

void NfsDataPath::BeginList(gantry_op op, const gantry_fs_readdir& request,
                            std::optional<uint32_t> plus_room_bytes) {
  const Turn turn(*this);
  const auto directory = ToHandle(request.node);
  if (!BeginWith(op, request.context, directory)) return;
  Verifier verifier{};
  if (request.cookie != 0) {
    auto rest = listings_.Take(*directory, request.cookie, std::chrono::steady_clock::now());
    verifier = rest ? rest->verifier : listings_.VerifierOf(*directory);
    if (rest && (!rest->names.empty() || rest->eof)) return EmitListed(op, *std::move(rest));
  }
  const uint32_t bytes =
      plus_room_bytes ? AnswerThatFits(*plus_room_bytes, *directory) : kPlusBytesMax;
  List({op, *directory, bytes, std::nullopt}, request.cookie, verifier);
}

void NfsDataPath::List(const ListJob& job, uint64_t cookie, const Verifier& verifier) {
  const auto then = [this, job, cookie, rewrites = uncommitted_.rewrites()](auto reply, bool) {
    if (!reply) return OnListFailed(job, cookie, reply.error());
    Listing listing = ToListing(job.directory, cookie, *std::move(reply));
    // They may be of a time when the server had lost what was written.
    for (ListedName& name : listing.names)
      if (name.told && (rewrites != uncommitted_.rewrites() || calls_.IsHeld(name.told->handle)))
        name.told.reset();
    OnListed(job, std::move(listing));
  };
  if (plain_readdir_)
    return calls_.To<nfs::ReadDir>(job.op, {job.directory, cookie, verifier}, then);
  nfs::ReadDirPlus call{job.directory, cookie, verifier};
  call.max_count = job.plus_bytes;
  call.dir_count = std::min(call.dir_count, job.plus_bytes);
  calls_.To<nfs::ReadDirPlus>(job.op, call, then);
}

void NfsDataPath::OnListFailed(ListJob job, uint64_t cookie, const NfsError& error) {
  if (error.Is(NfsStatus3::kNotSupp) && !plain_readdir_) {
    plain_readdir_ = true;
    return List(job, cookie, listings_.VerifierOf(job.directory));
  }
  const bool stale_cookie = error.Is(NfsStatus3::kBadCookie) || error.Is(NfsStatus3::kNotSync);
  if (stale_cookie && cookie != 0 && !job.skip_to) {
    // The directory has changed; its cookies may still be the same ones.
    job.skip_to = cookie;
    return List(job, 0, Verifier{});
  }
  Fail(job.op, error);
}

void NfsDataPath::OnListed(ListJob job, Listing listing) {
  auto& names = listing.names;
  // The end would be reported where there is none, or asked for without end.
  if (names.empty() && !listing.eof) return Fail(job.op, EIO);
  if (job.skip_to) {
    const uint64_t last = names.empty() ? 0 : names.back().cookie;
    const auto found = std::find_if(names.begin(), names.end(), [&](const ListedName& name) {
      return name.cookie == *job.skip_to;
    });
    if (found == names.end()) {
      // Where it was can't be found: what follows is unknown, and an end would be a lie.
      if (listing.eof) return Fail(job.op, EIO);
      return List(job, last, listing.verifier);
    }
    names.erase(names.begin(), found + 1);
    listing.after = *job.skip_to;
    job.skip_to.reset();
    if (names.empty() && !listing.eof) return List(job, last, listing.verifier);
  }
  EmitListed(job.op, std::move(listing));
}

void NfsDataPath::EmitListed(gantry_op op, Listing listing) {
  size_t taken = 0;
  for (const ListedName& name : listing.names) {
    gantry_fs_entry entry{};
    entry.name = ToStr(name.name);
    entry.fileid = name.fileid;
    entry.cookie = name.cookie;
    entry.type = name.type;
    if (!Emit(host_, op, entry, name.told)) break;
    listing.after = name.cookie;
    ++taken;
  }
  listing.names.erase(listing.names.begin(), listing.names.begin() + static_cast<ptrdiff_t>(taken));
  listings_.Put(std::move(listing));
  Done(op);
}

}  // namespace gantry::nfs
