"""Sets without a shortcut, for which the field has published accuracies, at ten images per class.

    cd benchmarks
    for set in mnist fashion_mnist cifar10; do
        for d in dm dsa mtt; do
            dd-debias run anchors:plain_$set --ipc 10 --distill $d --weigh none --networks 2 --out ../results
        done
    done

Ten minutes a run on one core. The lines with epochs=300 are of the first version, the one with epochs=1000 is
gradient matching with five times its updates: --rounds 50 --inner 10 --distill.lr 1 --distill.batch 64. The line of
MTT with syn_lr=0.1 is from before `first_step_size`: --syn-lr 0.1."""
from dd_debias.dataset import BiasedDataset
from dd_debias.pixels import pad
from dd_debias.sources import cifar10, fashion_mnist, mnist


def plain_mnist(split:str='train')->BiasedDataset:
    images, labels = mnist(split)
    return BiasedDataset(pad(images), labels)

def plain_fashion_mnist(split:str='train')->BiasedDataset:
    images, labels = fashion_mnist(split)
    return BiasedDataset(pad(images), labels)

def plain_cifar10(split:str='train')->BiasedDataset:
    return BiasedDataset(*cifar10(split))
