"""Training speed of the reference model in PyTorch, on one thread: the family `lstm` of lib/nn, function for function.

    train_torch.py DATA padded|packed BATCH SECONDS

padded: two one-way nn.LSTM on padded batches, the backward one on texts reversed within their length, which is how
PyTorch reaches oneDNN; packed: nn.LSTM on a packed sequence, as most would write it. Prints one JSON object.
"""

import json
import sys
import time

import numpy as np
import rows
import torch
from torch import nn
from torch.nn import functional as F

EMBED, HIDDEN, BUCKETS, NGRAM_SCALE = 64, 64, 65536, 5.0
TOKEN_DROPOUT, EMBED_DROPOUT, OUTPUT_DROPOUT, NGRAM_DROPOUT, SMOOTHING = 0.1, 0.4, 0.5, 0.3, 0.1
POOL = 50  # batches that are sorted by length together


def ngrams(text):
    """Unique hashed 1-, 2- and 3-grams; the ids do not matter for speed, their number does."""
    grams = {text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1)}
    return np.unique(np.array([1 + hash(gram) % (BUCKETS - 1) for gram in grams], dtype=np.int64))


def encode(train):
    counts = {}
    for text, _ in train:
        for character in text:
            counts[character] = counts.get(character, 0) + 1
    ids = {c: i + 2 for i, c in enumerate(sorted(c for c, n in counts.items() if n > 1))}
    encoded = []
    for text, label in train:
        clipped = rows.clip(text)
        encoded.append((np.array([ids.get(c, 1) for c in clipped], dtype=np.int64), ngrams(clipped), label))
    return encoded, len(ids) + 2


def collate(examples):
    """ids (T,B), lengths (B,), flat n-grams, the text of each, how many a text has (B,), labels (B,)"""
    lengths = torch.tensor([len(ids) for ids, _, _ in examples])
    ids = torch.zeros(int(lengths.max()), len(examples), dtype=torch.long)
    for i, (row, _, _) in enumerate(examples):
        ids[: len(row), i] = torch.from_numpy(row)
    counts = torch.tensor([len(grams) for _, grams, _ in examples])
    flat = torch.from_numpy(np.concatenate([grams for _, grams, _ in examples]))
    owner = torch.repeat_interleave(torch.arange(len(examples)), counts)
    return ids, lengths, flat, owner, counts, torch.tensor([label for _, _, label in examples])


class Net(nn.Module):
    def __init__(self, vocabulary, packed):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, EMBED, padding_idx=0)
        self.packed = packed
        if packed:
            self.both = nn.LSTM(EMBED, HIDDEN, bidirectional=True)
        else:
            self.forward_lstm, self.backward_lstm = nn.LSTM(EMBED, HIDDEN), nn.LSTM(EMBED, HIDDEN)
        self.out = nn.Linear(2 * HIDDEN, 2)
        self.table = nn.Embedding(BUCKETS, 2)
        nn.init.zeros_(self.table.weight)

    def features(self, x, lengths):
        """(B,2H): both directions' maximum over time"""
        steps = torch.arange(x.shape[0])[:, None]
        outside = (steps >= lengths[None])[..., None]
        if self.packed:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            h, _ = nn.utils.rnn.pad_packed_sequence(self.both(packed)[0])
            return h.masked_fill(outside, -1e9).amax(0)
        reversed_steps = torch.where(outside[..., 0], steps, lengths[None] - 1 - steps)
        index = (reversed_steps * x.shape[1] + torch.arange(x.shape[1])[None]).reshape(-1)
        turned = x.reshape(-1, EMBED).index_select(0, index).view_as(x)
        pair = (self.forward_lstm(x)[0], self.backward_lstm(turned)[0])
        return torch.cat([h.masked_fill(outside, -1e9).amax(0) for h in pair], 1)

    def forward(self, ids, lengths, flat, owner, counts):
        x = self.embedding(ids)
        x = x * (torch.rand(*ids.shape, 1) >= TOKEN_DROPOUT)
        features = F.dropout(self.features(F.dropout(x, EMBED_DROPOUT), lengths), OUTPUT_DROPOUT)
        value = F.dropout(NGRAM_SCALE / counts.sqrt()[owner], NGRAM_DROPOUT)
        return self.out(features).index_add(0, owner, self.table(flat) * value[:, None])


def batches(encoded, size, rng):
    """Shuffled, sorted by length within pools, cut, shuffled."""
    order = rng.permutation(len(encoded))
    cut = []
    for i in range(0, len(order), size * POOL):
        pool = sorted(order[i : i + size * POOL], key=lambda row: len(encoded[row][0]))
        cut += [pool[j : j + size] for j in range(0, len(pool), size)]
    rng.shuffle(cut)
    return cut


def main():
    data, kind, size, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(1)
    torch.manual_seed(1)
    encoded, vocabulary = encode(rows.load(data)[0])
    net = Net(vocabulary, kind == "packed")
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.9, 0.99))
    rng = np.random.RandomState(1)
    samples = tokens = steps = 0
    started = time.process_time()
    while time.process_time() - started < seconds:
        for batch in batches(encoded, size, rng):
            *inputs, labels = collate([encoded[row] for row in batch])
            loss = F.cross_entropy(net(*inputs), labels, label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            samples += len(batch)
            tokens += int(inputs[1].sum())
            steps += 1
            if steps == 10:  # warm
                started, samples, tokens = time.process_time(), 0, 0
            if time.process_time() - started > seconds:
                break
    spent = time.process_time() - started
    print(json.dumps({"samples_per_s": samples / spent, "tokens_per_s": tokens / spent, "version": torch.__version__}))


main()
