"""A set without a shortcut, for which the field has published accuracies: MNIST, ten images per class, DSA 97.8%.

    cd benchmarks
    for d in dm dsa; do
        dd-debias run anchors:plain_mnist --ipc 10 --distill $d --weigh none --epochs 300 --networks 2 --out ../results
    done
    dd-debias run anchors:plain_mnist --ipc 10 --distill dsa --weigh none --rounds 50 --inner 10 \\
        --distill.lr 1 --distill.batch 64 --epochs 1000 --networks 2 --out ../results"""
from dd_debias.dataset import BiasedDataset
from dd_debias.pixels import pad
from dd_debias.sources import mnist


def plain_mnist(split:str='train')->BiasedDataset:
    images, labels = mnist(split)
    return BiasedDataset(pad(images), labels)
