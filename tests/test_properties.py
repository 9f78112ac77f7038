"Properties of images: against hand computations and SciPy, and what is refused"
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp

from dd_debias.bias import color_digits
from dd_debias.properties import (
    CELLS,
    MEASURES,
    REGIONS,
    class_properties,
    file_properties,
    image_properties,
    property_sentences,
    shared_properties,
    shared_sentences,
)
from dd_debias.shortcut import find_shortcut, glance


@pytest.mark.parametrize('size', [8, 28, 33])
def test_a_bright_cell_is_bright_in_its_region_only(size):
    images = torch.zeros(9, 3, size, size, dtype=torch.uint8)
    edges = [0, -(-size//3), -(-2*size//3), size]
    for i in range(9):
        row, column = divmod(i, 3)
        images[i, :, edges[row]:edges[row+1], edges[column]:edges[column+1]] = 255
    brightness = image_properties(images)[[f'brightness, {cell}' for cell in CELLS]].to_numpy()
    assert np.allclose(brightness, np.eye(9))

def test_grey_images_have_three_measures_and_blocks_change_nothing():
    grey = torch.randint(256, (50, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    table = image_properties(grey)
    assert table.shape == (50, 3*len(REGIONS)) and table.equals(image_properties(grey, block=7))
    color = image_properties(grey.expand(-1, 3, -1, -1))
    assert color.shape == (50, len(MEASURES)*len(REGIONS)) and np.allclose(color[table.columns], table, atol=1e-6)
    assert (color.filter(like='saturation') == 0).all(axis=None)
    x = grey[:, 0].numpy()/255
    assert np.allclose(table['contrast, image'], x.std((1, 2)), atol=1e-4)
    with pytest.raises(ValueError, match='block must be'): image_properties(grey, block=0)
    with pytest.raises(ValueError, match='images must be a tensor of shape'): image_properties(grey[0])

def test_a_plain_region_has_no_contrast():
    "whatever its grey, so that rounding separates no classes; a pixel that is one byte off has some"
    greys = torch.tensor([16, 35, 67, 96, 119, 206], dtype=torch.uint8).repeat(64, 64, 3, 1).permute(3, 2, 0, 1)
    contrast = image_properties(greys).filter(like='contrast')
    assert (contrast == 0).all(axis=None)
    greys[:, :, 5, 5] += 1
    assert (image_properties(greys)['contrast, image'] > 0).all()

def test_refusals():
    with pytest.raises(ValueError, match='^images must be bytes'): image_properties(torch.full((2, 3, 8, 8), 255.))
    with pytest.raises(ValueError, match='^labels must be one for each row of properties, 3, got 2'):
        class_properties(pd.DataFrame(dict(a=[1., 2, 3])), torch.tensor([0, 1]))

def test_difference_is_the_statistic_of_kolmogorov_and_smirnov():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(3, size=200))
    values = pd.DataFrame(dict(a=rng.normal(size=200)+labels.numpy(), b=rng.integers(4, size=200))) # b has ties
    weights = torch.from_numpy(rng.random(200))
    for row in class_properties(values, labels, weights).to_dict('records'):
        mine = labels.numpy() == row['class']
        column = values[row['property']]
        assert row['difference'] == pytest.approx(ks_2samp(column[mine], column[~mine]).statistic)
        beyond = column <= row['threshold'] if row['side'] == 'below' else column > row['threshold']
        of_weight = weights.numpy()[mine & beyond].sum()/weights.numpy()[mine].sum()
        assert (row['within'], row['elsewhere'], row['weight']) == pytest.approx(
            (beyond[mine].mean(), beyond[~mine].mean(), of_weight))

def test_some_classes_are_separated_from_the_others():
    "As few as share a value, at least two, by the threshold that is best of a hundred"
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(7, size=700))
    grey = np.isin(labels, [1, 4, 6]) ^ (rng.random(700) < .1)
    values = pd.DataFrame(dict(noise=rng.normal(size=700), grey=-5*grey+rng.normal(size=700), alike=1.))
    weights = torch.from_numpy(rng.random(700))
    table = shared_properties(values, labels, weights)
    assert table.property.tolist() == ['grey', 'noise', 'alike'] and table.difference[2] == 0
    for row in table.to_dict('records'):
        mine = np.isin(labels, row['classes'])
        assert 2 <= len(row['classes']) <= 3
        beyond = values[row['property']] <= row['threshold']
        if row['side'] == 'above': beyond = ~beyond
        of_weight = weights.numpy()[mine & beyond].sum()/weights.numpy()[mine].sum()
        assert (row['within'], row['elsewhere'], row['weight']) == pytest.approx(
            (beyond[mine].mean(), beyond[~mine].mean(), of_weight))
    best = table.loc[0]
    statistic = ks_2samp(values.grey[np.isin(labels, [1, 4, 6])], values.grey[~np.isin(labels, [1, 4, 6])]).statistic
    assert best.classes == [1, 4, 6] and best.difference == pytest.approx(statistic, abs=.02)
    said, = shared_sentences(table, 'abcdefg')
    assert said.startswith('b, e and g are low in grey: 89%') and not shared_sentences(table, least=.95)
    long = shared_sentences(pd.DataFrame([best.to_dict() | dict(classes=list(range(9)))]))[0]
    assert long.startswith('0, 1, 2, 3, 4 and 4 more classes are low')
    assert shared_properties(values, labels.clamp_max(2)).empty # three classes
    some = values.assign(grey=values.grey.where(labels.numpy() > 2)) # known of four classes
    assert set(shared_properties(some, labels).set_index('property').classes['grey']) == {4, 6}

def test_properties_that_are_missing_or_all_alike():
    "A file that cannot be read has none; it is left out of the comparison"
    labels = torch.tensor([0, 0, 1, 1, 1])
    table = class_properties(pd.DataFrame(dict(width=[1., np.nan, 2, 3, 3], same=[7.]*5)), labels)
    best = table[table.property == 'width'].set_index('class')
    assert best.within.tolist() == [1, 1] and best.elsewhere.tolist() == [0, 0]
    assert 'same' not in set(table.property) # tells nothing
    assert property_sentences(table, ['ant', 'bee'])[0].startswith('ant is narrower: 100% of its images')
    assert class_properties(pd.DataFrame(dict(a=[1., 2])), torch.tensor([0, 0])).empty # one class
    assert file_properties(['nowhere.png']).isna().all(axis=None)

def test_a_glance_is_repeatable_and_needs_two_images_of_a_class():
    train = color_digits(conflict=.05)[:400]
    shares = glance(*train.xy)
    assert shares.equal(glance(*train.xy)) and not shares.equal(glance(*train.xy, seed=1))
    assert shares.shape == (400, 10) and torch.allclose(shares.sum(1), torch.ones(400))
    by_class = train.labels.argsort() # as a folder is read
    sorted_told = find_shortcut(*train[by_class].xy)['accuracy']
    assert abs(sorted_told-find_shortcut(*train.xy)['accuracy']) < .1
    few = glance(*train[by_class].xy, reference=200)
    assert (few.argmax(1) == train.labels[by_class]).float().mean() > .6
    with pytest.raises(ValueError, match='labels: a class needs two images at least, class 0 has one'):
        glance(train.images[:5], torch.tensor([0, 1, 1, 1, 1]))
    with pytest.raises(ValueError, match='neighbors must be'): glance(*train.xy, neighbors=0)
