//===- World.cpp - the ranks of one unique id, and their messages ---------===//

#include "World.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

using namespace cleave::simt;
using namespace cleave::runtime;

/// What a process may take to say who it is, once it has called.
static constexpr uint32_t helloMs = 1000;
static constexpr uint32_t lookMs = 1;

Address World::addressOf(int rank) const {
  Address address = {};
  address.local = 1;
  snprintf(address.name, sizeof address.name, "cleave-simt/%u/%s/%d", geteuid(), name.c_str(),
           rank);
  return address;
}

bool World::add(int rank, int device) {
  if (listeners.count(rank) || std::find(devices.begin(), devices.end(), device) != devices.end())
    return false;
  devices[size_t(rank)] = device;
  Address address = addressOf(rank);
  return listeners[rank].open(address, nullptr) == CLEAVE_OK;
}

void World::remove(int rank) {
  listeners.erase(rank);
  std::erase_if(peers, [&](const auto &entry) { return entry.first.first == rank; });
}

void World::greet(Pair pair, Socket socket) {
  Peer &peer = peers[pair];
  peer.socket = std::move(socket);
  Message hello = {};
  hello.kind = Message::Hello;
  hello.from = pair.first;
  hello.to = pair.second;
  hello.key = devices[size_t(pair.first)];
  give(hello);
}

/// Who calls says first who it is.
void World::accept(int rank) {
  while (Socket socket = listeners[rank].accept(Deadline(lookMs))) {
    Message hello;
    if (!socket.readAll(&hello, sizeof hello, Deadline(helloMs)) || hello.kind != Message::Hello ||
        hello.to != rank || hello.from < 0 || hello.from >= size())
      continue;
    greet({rank, hello.from}, std::move(socket));
    arrive(hello, {});
  }
}

/// Whether a rank of this process has met all others.
bool World::isConnected(int rank) const {
  for (int other = 0; other < size(); ++other) {
    auto peer = peers.find({rank, other});
    if (!listeners.count(other) && (peer == peers.end() || !peer->second.greeted))
      return false;
  }
  return true;
}

/// Of two ranks the higher one calls.
bool World::isWhole() {
  bool whole = true;
  for (auto &[rank, listener] : listeners) {
    if (isConnected(rank))
      continue;
    for (int other = 0; other < rank; ++other) {
      Socket socket;
      if (!listeners.count(other) && !peers.count({rank, other}) &&
          !connectTo(addressOf(other), Deadline(0), socket, nullptr))
        greet({rank, other}, std::move(socket));
    }
    accept(rank);
    whole &= isConnected(rank);
  }
  pump();
  return whole && isFlushed();
}

void World::give(const Message &message, std::shared_ptr<const std::string> bytes) {
  if (listeners.count(message.to)) {
    inbox(message.clique, message.kind, message.to, message.from).push_back({message, bytes});
    return;
  }
  auto found = peers.find({message.from, message.to});
  if (found == peers.end())
    return;
  std::string &out = found->second.out;
  Message sent = message;
  sent.bytes = bytes ? bytes->size() : 0;
  out.append(reinterpret_cast<const char *>(&sent), sizeof sent);
  if (bytes)
    out += *bytes;
}

void World::arrive(const Message &message, std::string bytes) {
  if (message.kind == Message::Hello) {
    peers[{message.to, message.from}].greeted = true;
    shared |= std::find(devices.begin(), devices.end(), message.key) != devices.end();
    devices[size_t(message.from)] = message.key;
    return;
  }
  inbox(message.clique, message.kind, message.to, message.from)
      .push_back({message, std::make_shared<const std::string>(std::move(bytes))});
}

void World::receive(Peer &peer) {
  char some[1 << 16];
  ssize_t got;
  while ((got = recv(peer.socket.get(), some, sizeof some, 0)) > 0)
    peer.in.append(some, size_t(got));
  lost |= got == 0 || (errno != EAGAIN && errno != EINTR);
  size_t at = 0;
  Message message;
  while (peer.in.size() - at >= sizeof message) {
    memcpy(&message, peer.in.data() + at, sizeof message);
    if (peer.in.size() - at - sizeof message < message.bytes)
      break;
    arrive(message, peer.in.substr(at + sizeof message, message.bytes));
    at += sizeof message + message.bytes;
  }
  peer.in.erase(0, at);
}

void World::pump() {
  for (auto &[pair, peer] : peers) {
    size_t sent = 0;
    ssize_t got = 0;
    while (sent < peer.out.size() && (got = send(peer.socket.get(), peer.out.data() + sent,
                                                 peer.out.size() - sent, MSG_NOSIGNAL)) > 0)
      sent += size_t(got);
    lost |= got < 0 && errno != EAGAIN && errno != EINTR;
    peer.out.erase(0, sent);
    receive(peer);
  }
}

bool World::isFlushed() const {
  return std::all_of(peers.begin(), peers.end(),
                     [](const auto &entry) { return entry.second.out.empty(); });
}
