// The box above the list of all names leaves those in which every word that is typed into it occurs
const box = document.querySelector('.nb-filter')
box.addEventListener('input', () => {
  const words = box.value.toLowerCase().split(/\s+/)
  for (const row of document.querySelectorAll('.nb-names > div')) {
    const text = row.textContent.toLowerCase()
    row.hidden = !words.every(word => text.includes(word))
  }
})
