// SPDX-License-Identifier: Apache-2.0
// Directories are listed with READDIRPLUS, for the types of the entries, and with READDIR where the
// server has nothing else.
#include <cerrno>
#include <gantry/gantry.hpp>

#include "plugins/nfs/datapath/convert.hpp"
#include "plugins/nfs/datapath/data_path.hpp"

namespace gantry::nfs {
namespace {

uint32_t TypeOf(const DirEntry&) { return 0; }
uint32_t TypeOf(const DirEntryPlus& entry) {
  return entry.attributes ? TypeBits(entry.attributes->type) : 0;
}

template <class Entry>
Listing ToListing(const FileHandle& directory, uint64_t after, ListReply<Entry> reply) {
  Listing listing{directory, after,     reply.verifier,
                  {},        reply.eof, std::chrono::steady_clock::now()};
  listing.names.reserve(reply.entries.size());
  for (Entry& entry : reply.entries) {
    listing.names.push_back({std::move(entry.name), entry.fileid, entry.cookie, TypeOf(entry)});
  }
  return listing;
}

}  // namespace

void NfsDataPath::Readdir(gantry_op op, const gantry_fs_readdir& request) {
  const Turn turn(*this);
  const auto directory = ToHandle(request.node);
  if (!BeginWith(op, request.context, directory)) return;
  Verifier verifier{};
  if (request.cookie != 0) {
    auto rest = listings_.Take(*directory, request.cookie, std::chrono::steady_clock::now());
    verifier = rest ? rest->verifier : listings_.VerifierOf(*directory);
    if (rest && (!rest->names.empty() || rest->eof)) return EmitListed(op, *std::move(rest));
  }
  List(op, *directory, request.cookie, verifier, std::nullopt);
}

void NfsDataPath::List(gantry_op op, const FileHandle& directory, uint64_t cookie,
                       const Verifier& verifier, std::optional<uint64_t> skip_to) {
  const auto then = [this, op, directory, cookie, skip_to](auto reply, bool) {
    if (!reply) return OnListFailed(op, directory, cookie, skip_to, reply.error());
    OnListed(op, ToListing(directory, cookie, *std::move(reply)), skip_to);
  };
  if (plain_readdir_) return calls_.To<nfs::ReadDir>(op, {directory, cookie, verifier}, then);
  calls_.To<nfs::ReadDirPlus>(op, {directory, cookie, verifier}, then);
}

void NfsDataPath::OnListFailed(gantry_op op, const FileHandle& directory, uint64_t cookie,
                               std::optional<uint64_t> skip_to, const NfsError& error) {
  if (error.Is(NfsStatus3::kNotSupp) && !plain_readdir_) {
    plain_readdir_ = true;
    return List(op, directory, cookie, listings_.VerifierOf(directory), skip_to);
  }
  const bool stale_cookie = error.Is(NfsStatus3::kBadCookie) || error.Is(NfsStatus3::kNotSync);
  if (stale_cookie && cookie != 0 && !skip_to) {
    // The directory has changed; its cookies may still be the same ones.
    return List(op, directory, 0, Verifier{}, cookie);
  }
  Fail(op, error);
}

void NfsDataPath::OnListed(gantry_op op, Listing listing, std::optional<uint64_t> skip_to) {
  auto& names = listing.names;
  // The end would be reported where there is none, or asked for without end.
  if (names.empty() && !listing.eof) return Fail(op, EIO);
  if (skip_to) {
    const uint64_t last = names.empty() ? 0 : names.back().cookie;
    const auto found = std::find_if(names.begin(), names.end(), [&](const ListedName& name) {
      return name.cookie == *skip_to;
    });
    if (found == names.end()) {
      // Where it was can't be found: what follows is unknown, and an end would be a lie.
      if (listing.eof) return Fail(op, EIO);
      return List(op, listing.directory, last, listing.verifier, skip_to);
    }
    names.erase(names.begin(), found + 1);
    listing.after = *skip_to;
    if (names.empty() && !listing.eof) {
      return List(op, listing.directory, last, listing.verifier, std::nullopt);
    }
  }
  EmitListed(op, std::move(listing));
}

void NfsDataPath::EmitListed(gantry_op op, Listing listing) {
  size_t taken = 0;
  for (const ListedName& name : listing.names) {
    gantry_fs_entry entry{};
    entry.name = ToStr(name.name);
    entry.fileid = name.fileid;
    entry.cookie = name.cookie;
    entry.type = name.type;
    if (host_.entry(host_.ctx, op, &entry) == 0) break;
    listing.after = name.cookie;
    ++taken;
  }
  listing.names.erase(listing.names.begin(), listing.names.begin() + static_cast<ptrdiff_t>(taken));
  listings_.Put(std::move(listing));
  Done(op);
}

}  // namespace gantry::nfs
